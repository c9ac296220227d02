{{- define "portico.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "portico.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Requests and limits alike, of anything that has `cpu`, `memory`, and maybe `gpus`. */}}
{{- define "portico.resources" -}}
{{- $amounts := dict "cpu" (toString .cpu) "memory" .memory -}}
{{- if .gpus -}}
{{- $_ := set $amounts "nvidia.com/gpu" (toString .gpus) -}}
{{- end -}}
{{- toYaml (dict "requests" $amounts "limits" $amounts) -}}
{{- end -}}

{{/* Where a pod may run, and what goes before it: (dict "at" $ "group" GROUP). */}}
{{- define "portico.placement" -}}
{{- with .at.Values.image.pullSecret }}
imagePullSecrets: [{name: {{ . }}}]
{{- end }}
{{- with .group.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .group.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .group.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .group.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .group.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Of a container: `env` of the values, and where it loads models, what the hub asks for: (dict "at" $ "loads" true). */}}
{{- define "portico.environment" -}}
{{- $variables := .at.Values.env -}}
{{- with .at.Values.secrets.hub -}}
{{- if and $.loads .name -}}
{{- $token := dict "name" "HF_TOKEN" "valueFrom" (dict "secretKeyRef" (dict "name" .name "key" .key)) -}}
{{- $variables = append $variables $token -}}
{{- end -}}
{{- end -}}
{{- with $variables -}}
env: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/*
Whether pods of a group load models: those with GPUs, and those of the gateway where a model has none. As the others:
(dict "at" $ "group" GROUP "name" "gateway"); empty: they do not.
*/}}
{{- define "portico.loads" -}}
{{- if .group.gpus -}}
true
{{- else if eq (.name | default "") "gateway" -}}
{{- range .at.Values.models -}}
{{- if not (.resources).num_gpus -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The template of a Ray pod: (dict "at" $ "group" GROUP "name" "gateway"); of the head, without "name". */}}
{{- define "portico.rayPod" -}}
{{- $at := .at -}}
metadata:
  labels: {{- include "portico.selector" (dict "at" $at "part" "ray") | nindent 4 }}
    {{- with $at.Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    ray.io/overwrite-container-cmd: "true"
    {{- with $at.Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  {{- if .name }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 930   # over RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S (cluster/serve.env)
  {{- end }}
  securityContext: {{- include "portico.podSecurity" $at | nindent 4 }}
  {{- with include "portico.placement" . | trim }}{{ . | nindent 2 }}{{ end }}
  {{- if eq (.name | default "") "gateway" }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "portico.group" . | nindent 10 }}
  {{- end }}
  containers:
    - name: {{ empty .name | ternary "ray-head" "ray-worker" }}
      image: {{ include "portico.image" $at }}
      imagePullPolicy: {{ $at.Values.image.pullPolicy }}
      command: [/opt/portico/cluster/with-profile, bash, -c]
      # eval, because the operator's command has quotes and names of variables in it: $REDIS_PASSWORD, for one.
      args: ['ulimit -n 65536; eval "exec $KUBERAY_GEN_RAY_START_CMD"']
      {{- with include "portico.environment" (dict "at" $at "loads" (include "portico.loads" .)) | trim }}{{ . | nindent 6 }}{{ end }}
      ports:
        {{- if not .name }}
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        {{- end }}
        - {name: metrics, containerPort: 8080}
        - {name: serve, containerPort: 8000}
      {{- if .name }}
      readinessProbe:                  # the proxy of this pod reaches a gateway replica
        httpGet: {path: /-/healthz, port: serve}
        periodSeconds: 5
        failureThreshold: 2
      {{- end }}
      resources: {{- include "portico.resources" .group | nindent 8 }}
      securityContext: {{- include "portico.containerSecurity" $at | nindent 8 }}
      volumeMounts:
        - {name: secrets, mountPath: /etc/portico, readOnly: true}
        - {name: shared, mountPath: /mnt/shared}
        {{- with $at.Values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - name: secrets                    # whole files, no subPath: a changed Secret arrives while the pod runs
      projected:
        defaultMode: 0440
        sources:
          - secret:
              name: {{ $at.Values.secrets.keys.name }}
              items: [{key: {{ $at.Values.secrets.keys.key }}, path: keys.json}]
          {{- with $at.Values.secrets.images }}
          {{- if and $at.Values.config.kept_images .name }}
          - secret:
              name: {{ .name }}
              items: [{key: {{ .key }}, path: images-secret}]
          {{- end }}
          {{- end }}
    - name: shared                     # kept images, the budgets' snapshot, downloaded models
      persistentVolumeClaim: {claimName: {{ include "portico.sharedClaim" $at }}}
    {{- with $at.Values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end -}}

{{/* What finds the pods of a group of workers: (dict "at" $ "name" "gateway"). */}}
{{- define "portico.group" -}}
{{ include "portico.selector" (dict "at" .at "part" "ray") }}
ray.io/group: {{ .name }}
{{- end -}}

{{/* How many pods a group has: (dict "group" GROUP "name" "gateway"). KubeRay says later, in a status, what is wrong. */}}
{{- define "portico.sizes" -}}
{{- if or (gt (int .group.minReplicas) (int .group.replicas)) (gt (int .group.replicas) (int .group.maxReplicas)) -}}
{{- printf "%s: replicas must be minReplicas or more, and maxReplicas or fewer" .name | fail -}}
{{- end -}}
replicas: {{ int .group.replicas }}
minReplicas: {{ int .group.minReplicas }}
maxReplicas: {{ int .group.maxReplicas }}
{{- end -}}
