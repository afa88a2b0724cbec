{{- define "turnpike.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}-turnpike
{{- end }}

{{- define "turnpike.labels" -}}
{{ include "turnpike.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "turnpike.selector" -}}
app.kubernetes.io/name: turnpike
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "turnpike.secretName" -}}
{{- .Values.secret.existingSecret | default (include "turnpike.name" .) }}
{{- end }}
