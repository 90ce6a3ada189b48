"""From cgroup ids to the names operators know."""
