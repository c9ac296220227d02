{{/* The name of all objects, or what it begins with. At most 45 characters: KubeRay takes 47, a Job with its ending 63. */}}
{{- define "portico.name" -}}
{{- if .Values.nameOverride -}}
{{- .Values.nameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What finds the pods of a part: (dict "at" $ "part" "ray"). A version in it would restart them with every chart. */}}
{{- define "portico.selector" -}}
app.kubernetes.io/name: portico
app.kubernetes.io/instance: {{ .at.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{/* Labels of an object that is no pod. */}}
{{- define "portico.labels" -}}
{{ include "portico.selector" . }}
app.kubernetes.io/version: {{ .at.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .at.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .at.Chart.Name .at.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "portico.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- define "portico.sharedClaim" -}}
{{- .Values.sharedStorage.existingClaim | default (printf "%s-shared" (include "portico.name" .)) -}}
{{- end -}}

{{/* The Service that clients come through. KubeRay moves its own from cluster to cluster, but not a part at a time. */}}
{{- define "portico.endpoint" -}}
{{- if .Values.endpoint.service -}}
{{- .Values.endpoint.service -}}
{{- else if eq .Values.upgrade.strategy "NewClusterWithIncrementalUpgrade" -}}
{{- fail "endpoint.service is empty: with upgrade.strategy NewClusterWithIncrementalUpgrade, name the Service of the Gateway that KubeRay makes, or disable ingress and httpRoute and leave secrets.smoke.name empty" -}}
{{- else -}}
{{- include "portico.name" . }}-serve-svc
{{- end -}}
{{- end -}}
