{{- define "annulus.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "annulus.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "annulus.name" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "annulus.secret" -}}
{{- .Values.cluster.existingSecret | default (printf "%s-cluster" (include "annulus.name" .)) }}
{{- end }}

{{- define "annulus.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Which pods: (list $ "auxiliary"). */}}
{{- define "annulus.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ $.Chart.Name }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "annulus.labels" -}}
{{- $ := index . 0 -}}
{{ include "annulus.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ $.Chart.Name }}-{{ $.Chart.Version }}
{{- end }}

{{- define "annulus.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "annulus.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "annulus.serviceAccountOfPod" -}}
serviceAccountName: {{ include "annulus.serviceAccount" . }}
automountServiceAccountToken: {{ eq .Values.cluster.discovery "kubernetes" }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Redis for a role: (list $ "ANNULUS_CLUSTER__REDIS"). */}}
{{- define "annulus.redis" -}}
{{- $ := index . 0 -}}
- name: {{ index . 1 }}
{{- if $.Values.redis.enabled }}
  value: redis://{{ include "annulus.name" $ }}-redis:6379/0
{{- else if $.Values.redis.existingSecret }}
  valueFrom: {secretKeyRef: {name: {{ $.Values.redis.existingSecret }}, key: url}}
{{- else }}
  value: {{ required "redis.enabled is false: give redis.url or redis.existingSecret" $.Values.redis.url | quote }}
{{- end }}
{{- end }}

{{/* What masters and auxiliaries are told of the cluster. */}}
{{- define "annulus.clusterEnv" -}}
{{- if eq .Values.cluster.discovery "kubernetes" }}
- name: ANNULUS_CLUSTER__KUBERNETES__NAMESPACE
  value: {{ .Release.Namespace }}
- name: ANNULUS_CLUSTER__KUBERNETES__STATEFULSET
  value: {{ include "annulus.name" . }}-auxiliary
- name: ANNULUS_CLUSTER__KUBERNETES__LABEL_SELECTOR
  value: app.kubernetes.io/name={{ .Chart.Name }},app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=auxiliary
- name: ANNULUS_CLUSTER__KUBERNETES__PORT
  value: "3001"
{{- else }}
{{ include "annulus.redis" (list . "ANNULUS_CLUSTER__REDIS") }}
{{- end }}
- name: ANNULUS_CLUSTER__SECRET
  valueFrom: {secretKeyRef: {name: {{ include "annulus.secret" . }}, key: secret}}
- name: ANNULUS_CLUSTER__REPLICAS
  value: {{ .Values.cluster.replicas | quote }}
- name: ANNULUS_CLUSTER__VIRTUAL_NODES
  value: {{ .Values.cluster.virtualNodes | quote }}
{{- end }}

{{/* Settings of a role over those of all: (list $ .Values.master.env). */}}
{{- define "annulus.extraEnv" -}}
{{- $ := index . 0 -}}
{{- range $name, $value := merge (dict) (index . 1) $.Values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* Latched: ready once, and then until it shuts down. */}}
{{- define "annulus.probes" -}}
startupProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /ready, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}

{{- define "annulus.scrape" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ . | quote }}
prometheus.io/path: /metrics
{{- end }}

{{/* The container of a master, alone or beside a program: (list $ "master"). */}}
{{- define "annulus.masterContainer" -}}
- name: {{ index . 1 }}
  {{- with index . 0 }}
  image: {{ include "annulus.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [master]
  securityContext: {{ include "annulus.containerSecurity" . | nindent 4 }}
  env:
    - name: ANNULUS_MASTER__NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    {{- include "annulus.clusterEnv" . | nindent 4 }}
    {{- include "annulus.extraEnv" (list . .Values.master.env) | nindent 4 }}
  ports:
    - {name: http, containerPort: 8000}
    - {name: memcached, containerPort: 11211}
  {{- include "annulus.probes" . | nindent 2 }}
  # Nobody is sent here any more before it stops to listen.
  lifecycle: {preStop: {exec: {command: [/bin/sleep, "5"]}}}
  resources: {{ toYaml .Values.master.resources | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Redis, wherever it is, the Kubernetes API where it says who the members are, the name server, and what is asked for. */}}
{{- define "annulus.egressToRegistry" -}}
{{- if .Values.redis.enabled }}
- to:
    - podSelector:
        matchLabels: {{ include "annulus.selector" (list . "redis") | nindent 10 }}
  ports: [{port: 6379, protocol: TCP}]
{{- else }}
- ports: [{port: 6379, protocol: TCP}, {port: 6380, protocol: TCP}]
{{- end }}
{{- if eq .Values.cluster.discovery "kubernetes" }}
- ports: [{port: 443, protocol: TCP}, {port: 6443, protocol: TCP}]
{{- end }}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A peer of a NetworkPolicy: (list $ "master"). */}}
{{- define "annulus.pods" -}}
podSelector:
  matchLabels: {{ include "annulus.selector" . | nindent 4 }}
{{- end }}
