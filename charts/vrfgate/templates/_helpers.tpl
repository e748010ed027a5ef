{{/* Names, labels and the parts that several pods share. */}}

{{- define "vrfgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The beginning of all objects' names. Short enough for the suffixes. */}}
{{- define "vrfgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "vrfgate.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "vrfgate.selector" -}}
app.kubernetes.io/name: {{ include "vrfgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vrfgate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "vrfgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The metadata of an object: (dict "root" $ "name" "controller" "labels" extra). */}}
{{- define "vrfgate.metadata" -}}
name: {{ include "vrfgate.fullname" .root }}{{ with .name }}-{{ . }}{{ end }}
{{- if not .clusterScoped }}
namespace: {{ .namespace | default .root.Release.Namespace }}
{{- end }}
labels:
  {{- include "vrfgate.labels" .root | nindent 2 }}
  {{- with .component }}
  app.kubernetes.io/component: {{ . }}
  {{- end }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "vrfgate.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Image and termination message, for every container. */}}
{{- define "vrfgate.container" -}}
image: {{ include "vrfgate.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{/* A pod that needs nothing but the API server. */}}
{{- define "vrfgate.unprivilegedPod" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "vrfgate.unprivilegedContainer" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where agents serve metrics and health. */}}
{{- define "vrfgate.agentAddress" -}}
{{- .Values.agent.address | default (ternary "0.0.0.0" "127.0.0.1" .Values.podMonitor.enabled) -}}
{{- end -}}

{{/* Where the kubelet probes them: on loopback, unless they are served on one address of the node. */}}
{{- define "vrfgate.agentProbeHost" -}}
{{- $address := include "vrfgate.agentAddress" . -}}
{{- ternary "127.0.0.1" (trimAll "[]" $address) (has $address (list "127.0.0.1" "0.0.0.0" "[::]")) -}}
{{- end -}}

{{- define "vrfgate.agentAccount" -}}
{{ include "vrfgate.fullname" . }}-agent
{{- end -}}
