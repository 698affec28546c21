{{- define "churn-operator.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "churn-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "churn-operator.labels" -}}
{{ include "churn-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* An image's reference: the chart's appVersion where no tag is given. */ -}}
{{- define "churn-operator.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- /* The collector's pods are none of the operator's: they have a name of their own. */ -}}
{{- define "churn-operator.collector.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-collector
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "churn-operator.collector.labels" -}}
{{ include "churn-operator.collector.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* Where predictors log to: nowhere, where there is no collector. */ -}}
{{- define "churn-operator.collector.url" -}}
{{- $own := printf "http://%s-collector.%s.svc" (include "churn-operator.name" .) .Release.Namespace -}}
{{ .Values.collector.url | default (ternary $own "" .Values.collector.enabled) }}
{{- end }}

{{- /* Of what the Prometheus Operator takes. */ -}}
{{- define "churn-operator.monitoring.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "churn-operator.labels" . | nindent 2 }}
  {{- with .Values.monitoring.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
