"""Write what is made of something else: ``make generated``; a test holds them against each other.

Rules for the Prometheus Operator are the plain rule files, wrapped. Dashboards are grafana/dashboards.py. The Helm
chart has both as templates. The manual page and the completions of the Debian package are made of verbs and options,
and the tables of options, metric families and columns in docs/ of the code that says them.
The DaemonSet of nodes with GPUs is that of the others, under another runtime.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import get_args

import yaml
from benchmarks.levels import table as levels

from deploy import completion, manual
from deploy.grafana.dashboards import dashboards
from kepler_ebpf.config import table as options
from kepler_ebpf.recording.schema import table as columns
from kepler_ebpf.views.families import table as families
from kepler_ebpf.views.family import Level

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
    "kepler-0.9-compat": "kustomize/components/kepler-0.9",
    "kepler-0.10-compat": "kustomize/components/kepler-0.10",
    "kepler-consumers": "kustomize/components/consumers",
}
"""Rule files, and the folder of each one's PrometheusRule."""


def operator_rule(name: str) -> str:
    """The PrometheusRule of ``prometheus/NAME.yaml``, its comments kept."""
    comments, groups = (DEPLOY / f"prometheus/{name}.yaml").read_text().split("groups:\n", 1)
    return comments + _RULE.format(name=name) + textwrap.indent("groups:\n" + groups, "  ")


_GPU = """\
# Made of k8s/kepler-daemonset.yaml by deploy/generate.py.
apiVersion: apps/v1
kind: DaemonSet
"""
# All GPUs are watched and none is taken: no nvidia.com/gpu resource is asked for.
_GPU_ENV = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "utility"}


def gpu_daemonset() -> str:
    """The DaemonSet of nodes with GPUs."""
    found = yaml.safe_load_all((DEPLOY / "k8s/kepler-daemonset.yaml").read_text())
    (one,) = [document for document in found if document["kind"] == "DaemonSet"]
    one["metadata"]["name"] += "-gpu"
    spec = one["spec"]
    spec["selector"] = {"matchLabels": {"app": "kepler-exporter", "variant": "gpu"}}
    spec["template"]["metadata"]["labels"]["variant"] = "gpu"
    pod = spec["template"]["spec"]
    pod["runtimeClassName"] = "nvidia"
    pod["nodeSelector"]["nvidia.com/gpu.present"] = "true"
    pod["containers"][0]["env"] += [{"name": name, "value": value} for name, value in _GPU_ENV.items()]
    return _GPU + yaml.safe_dump({name: one[name] for name in ("metadata", "spec")}, sort_keys=False)


CHART_RULES = {
    "kepler-0.9-compat": "rules.kepler09",
    "kepler-0.10-compat": "rules.kepler010",
    "kepler-consumers": "rules.consumers",
}
"""The chart's switches of rule files that are not of every installation."""


_CHART_LABELS = """\
  labels:
    app: kepler-exporter
    {{- range $name, $value := .Values.rules.labels }}
    {{ $name }}: {{ $value | quote }}
    {{- end }}
"""


CHART_PARAMETERS = {"vector(0.30)": "electricityPricePerKwh", "vector(233)": "carbonGramsPerKwh"}
"""The chart's values in place of the examples in kepler-parameters.yaml."""


def literal(text: str) -> str:
    """Text that Helm's templates leave as it is: braces for Prometheus and Grafana are not for Helm."""
    return re.sub(r"{{|}}", lambda braces: '{{ "' + braces[0] + '" }}', text)


def chart_rule(name: str) -> str:
    """The chart's template of a rule file."""
    text = literal(operator_rule(name)).replace("namespace: newmonitoring", "namespace: {{ .Release.Namespace }}")
    text = text.replace("  labels: {app: kepler-exporter}\n", _CHART_LABELS, 1)
    if name == "kepler-parameters":
        for example, value in CHART_PARAMETERS.items():
            text = text.replace(f"expr: {example}", f"expr: {{{{ .Values.rules.{value} | quote }}}}")
    return f"{{{{- if {_wanted(name)} }}}}\n{text}{{{{- end }}}}\n"


def _wanted(name: str) -> str:
    """The chart's condition of a rule file."""
    if name in CHART_RULES:
        return f".Values.{CHART_RULES[name]}"
    return 'include "kepler.wants" (dict "root" . "setting" .Values.rules.enabled "kind" "PrometheusRule")'


def chart_dashboard(name: str, text: str) -> str:
    """The chart's template of a dashboard, as a ConfigMap for Grafana's sidecar."""
    return f"""\
{{{{- if .Values.dashboards.enabled }}}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: kepler-dashboard-{Path(name).stem}
  namespace: {{{{ .Release.Namespace }}}}
  labels:
    app: kepler-exporter
    {{{{ .Values.dashboards.label | quote }}}}: "1"
data:
  kepler-ebpf-{name}: |
{textwrap.indent(literal(text), "    ")}{{{{- end }}}}
"""


def filled(page: str, section: str, text: str) -> str:
    """A page with the section between its two comments replaced."""
    begin, end = f"<!-- {section}: made by make generated -->\n", "<!-- end -->"
    before, rest = page.split(begin, 1)
    return before + begin + text + end + rest.split(end, 1)[1]


def generated() -> dict[Path, str]:
    """Every file written here, with its text."""
    made = {DEPLOY / folder / f"{name}.yaml": operator_rule(name) for name, folder in RULES.items()}
    made[DEPLOY / "kustomize/components/gpu/kepler-daemonset-gpu.yaml"] = gpu_daemonset()
    templates = DEPLOY / "helm/kepler-ebpf/templates"
    made |= {templates / f"{name}.yaml": chart_rule(name) for name in RULES}
    made[DEPLOY / "debian/kepler-ebpf.8"] = manual.page()
    for shell in (completion.bash, completion.zsh, completion.fish):
        made[DEPLOY / f"debian/kepler-ebpf.{shell.__name__}"] = shell()
    page = DEPLOY.parent / "docs/configuration.md"
    made[page] = filled(page.read_text(), "options", options())
    page = DEPLOY.parent / "docs/metrics.md"
    made[page] = page.read_text()
    for level in get_args(Level):
        made[page] = filled(made[page], f"{level} families", families(level))
    made[page] = filled(made[page], "levels of detail", levels())
    page = DEPLOY.parent / "docs/recording.md"
    made[page] = filled(page.read_text(), "columns", columns())
    for name, text in dashboards().items():
        made[DEPLOY / "grafana/dashboards" / name] = text
        made[templates / f"dashboard-{Path(name).stem}.yaml"] = chart_dashboard(name, text)
    return made


def main() -> None:
    for path, text in generated().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
