{{/*
The Serve configuration, as YAML: `serve`, and one application, whose args are `config`, `models`, and what follows from
other values: where the Secrets' files are, which nodes are for the gateway, how many GPUs there can be.
*/}}
{{- define "portico.serveConfig" -}}
{{- $args := deepCopy .Values.config -}}
{{- $_ := set $args "models" .Values.models -}}
{{- $_ := set $args "key_file" "/etc/portico/keys.json" -}}
{{- $_ := set $args "ingress" (merge (dict "label_selector" (dict "portico.io/role" "gateway")) ($args.ingress | default dict)) -}}
{{- if and $args.kept_images .Values.secrets.images.name -}}
{{- $_ := set $args.kept_images "secret_file" "/etc/portico/images-secret" -}}
{{- end -}}
{{- $gpus := dict -}}
{{- $all := true -}}
{{- range .Values.gpuGroups -}}
{{- if .accelerator -}}
{{- $_ := set $gpus .accelerator (add (get $gpus .accelerator | default 0) (mul .gpus .maxReplicas)) -}}
{{- else -}}
{{- $all = false -}}
{{- end -}}
{{- end -}}
{{- /* Where a group may have any, the others are no inventory: what fits into that group would be refused. */ -}}
{{- if $all -}}
{{- $_ := set $args "cluster" (dict "gpus" $gpus) -}}
{{- end -}}
{{- $application := dict
    "name" "portico"
    "route_prefix" "/"
    "import_path" "app.builder:build"
    "autoscaling_policy" (dict "policy_function" "app.autoscaling:ApplicationPolicy")
    "args" $args -}}
{{- toYaml (merge (dict "applications" (list $application)) .Values.serve) -}}
{{- end -}}
