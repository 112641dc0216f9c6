{{- define "lineal.name" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- /* Objects outside of namespaces: two releases of one name must not share them. */ -}}
{{- define "lineal.cluster-name" -}}
{{ printf "%s-%s" .Release.Namespace (include "lineal.name" .) }}
{{- end }}

{{- define "lineal.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "lineal.labels" -}}
{{ include "lineal.selector" . }}
app.kubernetes.io/part-of: lineal
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Its address stays when the operator is started again, and a pod of a step need not ask a name server for it. */ -}}
{{- define "lineal.exchange" -}}
{{ include "lineal.name" . }}-exchange
{{- end }}

{{- define "lineal.image" -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- end }}

{{- define "lineal.claim" -}}
{{- if eq .Values.storage.kind "existing" }}{{ .Values.storage.existingClaim }}{{ else }}{{ include "lineal.name" . }}{{ end -}}
{{- end }}

{{- /* The command line, in this one place. */ -}}
{{- define "lineal.arguments" -}}
- --dir=/var/lib/lineal
- operator
- --listen=0.0.0.0:8443
- --health=0.0.0.0:8080
- --advertise=https://$({{ include "lineal.exchange" . | upper | replace "-" "_" }}_SERVICE_HOST):8443
- --step-image={{ default (include "lineal.image" .) .Values.operator.stepImage }}
- --step-image-pull-policy={{ .Values.image.pullPolicy }}
- --approver={{ .Values.operator.approver }}
- --parallel-steps={{ .Values.operator.parallelSteps }}
{{- with .Values.operator.namespace }}
- --namespace={{ . }}
{{- end }}
{{- range .Values.operator.arguments }}
- {{ . | quote }}
{{- end }}
{{- end }}
