"""Pictures of the dashboards over real data: a tool for who works on them, and for the documentation."""
