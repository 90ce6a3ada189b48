{{- /* Labels of the collector's own objects; the last three are what selectors written for Kepler ask for. */}}
{{- define "kepler.labels" -}}
app: kepler-exporter
app.kubernetes.io/name: {{ .Values.nameLabel }}
app.kubernetes.io/component: exporter
app.kubernetes.io/part-of: kepler
{{- end }}

{{- /* One probe. The kubelet does not verify certificates of probes, and /healthz and /readyz ask for no password. It has
no certificate to show, either: where one is asked for it can do no more than connect. */}}
{{- define "kepler.probe" -}}
{{- if and .root.Values.auth.enabled .root.Values.auth.clientCertificates -}}
tcpSocket: {port: http-metrics}
{{- else -}}
httpGet: {path: {{ .path }}, port: http-metrics{{ if .root.Values.auth.enabled }}, scheme: HTTPS{{ end }}}
{{- end }}
{{- end }}

{{- /* Not empty where objects of the Prometheus Operator are to be made. auto: where the cluster knows their kind. */}}
{{- define "kepler.wants" -}}
{{- if eq (toString .setting) "auto" -}}
{{- if .root.Capabilities.APIVersions.Has (print "monitoring.coreos.com/v1/" .kind) }}yes{{ end }}
{{- else if .setting }}yes{{ end }}
{{- end }}
