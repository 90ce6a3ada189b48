"""Write what is made of something else in this folder: ``make generated``; a test holds them against each other.

Rules for the Prometheus Operator are the plain rule files, wrapped. Dashboards are grafana/dashboards.py.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from .grafana.dashboards import dashboards

DEPLOY = Path(__file__).parent

_RULE = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {name}
  namespace: newmonitoring
  labels: {{app: kepler-exporter}}
spec:
"""
RULES = {
    "kepler-alerts": "k8s",
    "kepler-parameters": "k8s",
    "kepler-rules": "k8s",
    "kepler-0.9-compat": "kustomize/kepler-0.9",
    "kepler-0.10-compat": "kustomize/kepler-0.10",
}
"""Rule files, and the folder of each one's PrometheusRule."""


def operator_rule(name: str) -> str:
    """The PrometheusRule of ``prometheus/NAME.yaml``, its comments kept."""
    comments, groups = (DEPLOY / f"prometheus/{name}.yaml").read_text().split("groups:\n", 1)
    return comments + _RULE.format(name=name) + textwrap.indent("groups:\n" + groups, "  ")


def generated() -> dict[Path, str]:
    """Every file written here, with its text."""
    rules = {DEPLOY / folder / f"{name}.yaml": operator_rule(name) for name, folder in RULES.items()}
    return rules | {DEPLOY / "grafana/dashboards" / name: text for name, text in dashboards().items()}


def main() -> None:
    for path, text in generated().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
