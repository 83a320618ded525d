{{- define "tunegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for the longest suffix that a name gets here. */}}
{{- define "tunegate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "tunegate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "tunegate.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tunegate.selector" -}}
app.kubernetes.io/name: {{ include "tunegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tunegate.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tunegate
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of everything that is the gateway. */}}
{{- define "tunegate.labels" -}}
{{ include "tunegate.selector" . }}
app.kubernetes.io/component: gateway
{{ include "tunegate.commonLabels" . }}
{{- end -}}

{{- define "tunegate.gatewaySelector" -}}
{{ include "tunegate.selector" . }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "tunegate.valkeySelector" -}}
{{ include "tunegate.selector" . }}
app.kubernetes.io/component: valkey
{{- end -}}

{{- define "tunegate.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .appVersion .image.tag }}
{{- end -}}
{{- end -}}

{{- define "tunegate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "tunegate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "tunegate.secretName" -}}
{{- if .Values.secret.existingSecret -}}
{{- .Values.secret.existingSecret -}}
{{- else if .Values.secret.data -}}
{{- include "tunegate.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "tunegate.valkeySecretName" -}}
{{- default (printf "%s-valkey" (include "tunegate.fullname" .)) .Values.valkey.auth.existingSecret -}}
{{- end -}}

{{/* A pod of its own name and volume, where what is on the volume must outlive the pod. */}}
{{- define "tunegate.isStateful" -}}
{{- if or (eq .Values.store.mode "embedded") .Values.persistence.enabled -}}true{{- end -}}
{{- end -}}

{{- define "tunegate.kind" -}}
{{- ternary "StatefulSet" "Deployment" (eq (include "tunegate.isStateful" .) "true") -}}
{{- end -}}

{{- define "tunegate.storeUrl" -}}
{{- if eq .Values.store.mode "embedded" -}}
embedded
{{- else if eq .Values.store.mode "valkey" -}}
redis://:${VALKEY_PASSWORD}@{{ include "tunegate.fullname" . }}-valkey:6379/0
{{- else -}}
{{- $url := required "store.external.url is needed where store.mode is external" .Values.store.external.url -}}
{{- if .Values.store.external.caSecret -}}
{{- $url = printf "%s%sssl_ca_certs=/etc/tunegate-store-ca/%s" $url (ternary "&" "?" (contains "?" $url)) .Values.store.external.caKey -}}
{{- end -}}
{{- $url -}}
{{- end -}}
{{- end -}}

{{/* The gateway's file: yours, and what the chart knows better. */}}
{{- define "tunegate.config" -}}
{{- $own := dict
  "server" (dict "host" .Values.listenAddress "port" 8080)
  "admin" (dict "host" .Values.listenAddress "port" 8081)
  "store" (dict "url" (include "tunegate.storeUrl" .) "data_dir" "/var/lib/tunegate") -}}
{{- $unsaid := dict "store" (dict "cache_url" "embedded") -}}
{{- toYaml (mergeOverwrite $unsaid (deepCopy .Values.config) $own) -}}
{{- end -}}

{{/* The blocks that a reload does not take: their change restarts the pods, that of others does not. */}}
{{- define "tunegate.staticConfig" -}}
{{- $config := include "tunegate.config" . | fromYaml -}}
{{- pick $config "server" "admin" "store" "telemetry" | toJson -}}
{{- end -}}

{{/* preStop, then the drain, then 20 s for the rest, as docs/operations.md asks. */}}
{{- define "tunegate.gracePeriod" -}}
{{- $server := default dict .Values.config.server -}}
{{- $grace := get $server "drain_grace_s" | toString | default "5" -}}
{{- $drain := get $server "drain_timeout_s" | toString | default "300" -}}
{{- $all := addf (float64 $grace) (float64 $drain) (float64 .Values.journal.flushTimeoutSeconds) 20 -}}
{{- ceil $all | int -}}
{{- end -}}

{{- define "tunegate.metricsAuth" -}}
{{- if get (default dict .Values.config.admin) "metrics_auth" -}}true{{- end -}}
{{- end -}}

{{/* What no schema can say. */}}
{{- define "tunegate.check" -}}
{{- if eq .Values.store.mode "embedded" -}}
{{- if or .Values.autoscaling.enabled (ne (int .Values.replicaCount) 1) -}}
{{- fail "store.mode embedded is one gateway: set replicaCount to 1 and leave autoscaling off, or use another store" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (include "tunegate.metricsAuth" .) (not (include "tunegate.secretName" .)) -}}
{{- fail "config.admin.metrics_auth with serviceMonitor needs TUNEGATE_ADMIN_KEY in secret.data or in secret.existingSecret" -}}
{{- end -}}
{{- end -}}

{{- define "tunegate.pod" -}}
metadata:
  labels:
    {{- include "tunegate.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/static: {{ include "tunegate.staticConfig" . | sha256sum }}
    checksum/secret: {{ .Values.secret.data | toJson | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "tunegate.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "tunegate.gracePeriod" . }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: gateway
      image: {{ include "tunegate.image" (dict "image" .Values.image "appVersion" .Chart.AppVersion) | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, --config, /etc/tunegate/gateway.yaml]
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      ports:
        - {name: http, containerPort: 8080, protocol: TCP}
        - {name: admin, containerPort: 8081, protocol: TCP}
      env:
        {{- if eq .Values.store.mode "valkey" }}
        - name: VALKEY_PASSWORD
          valueFrom:
            secretKeyRef:
              name: {{ include "tunegate.valkeySecretName" . }}
              key: {{ .Values.valkey.auth.key }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        - {name: PYTHONDONTWRITEBYTECODE, value: "1"}
      {{- if or (include "tunegate.secretName" .) .Values.extraEnvFrom }}
      envFrom:
        {{- with include "tunegate.secretName" . }}
        - secretRef:
            name: {{ . }}
        {{- end }}
        {{- with .Values.extraEnvFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      startupProbe:
        httpGet: {path: /healthz, port: http}
        {{- toYaml .Values.startupProbe | nindent 8 }}
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        {{- toYaml .Values.livenessProbe | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        {{- toYaml .Values.readinessProbe | nindent 8 }}
      lifecycle:
        preStop:
          exec:
            command: [python3, -I, /etc/tunegate/flush_journal.py, "{{ .Values.journal.flushTimeoutSeconds }}"]
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        # the folder, not a file of it: only then do changes of the ConfigMap arrive
        - {name: config, mountPath: /etc/tunegate, readOnly: true}
        - {name: data, mountPath: /var/lib/tunegate}
        - {name: tmp, mountPath: /tmp}
        {{- if and (eq .Values.store.mode "external") .Values.store.external.caSecret }}
        - {name: store-ca, mountPath: /etc/tunegate-store-ca, readOnly: true}
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "tunegate.fullname" . }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ .Values.tmpSizeLimit }}
    {{- if not (include "tunegate.isStateful" .) }}
    - name: data
      emptyDir:
        sizeLimit: {{ .Values.persistence.emptyDirSizeLimit }}
    {{- end }}
    {{- if and (eq .Values.store.mode "external") .Values.store.external.caSecret }}
    - name: store-ca
      secret:
        secretName: {{ .Values.store.external.caSecret }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "tunegate.gatewaySelector" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
{{- end -}}
