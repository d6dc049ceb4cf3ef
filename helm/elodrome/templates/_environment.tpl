{{/* Streams that a service reads, as deploy/bus.py has them. Takes component. */}}
{{- define "elodrome.streams" -}}
{{- get (dict "registry" "EVALUATOR" "evaluator" "REGISTRY EXECUTOR" "sessions" "REGISTRY") .component }}
{{- end }}

{{/* Settings that the chart decides, as JSON. Takes root and component. */}}
{{- define "elodrome.ownSettings" -}}
{{- $v := .root.Values }}
{{- $env := dict "ELODROME_PROFILE" "cluster" "ELODROME_BIND_HOST" "0.0.0.0" "ELODROME_HOME" "/var/lib/elodrome" "ELODROME_SECRETS_DIR" "/run/secrets/elodrome" "ELODROME_KEYS_DIR" "/run/secrets/keys" }}
{{- $_ := set $env "ELODROME_DATABASE_URL" (include "elodrome.databaseUrl" .) }}
{{- $_ := set $env "ELODROME_NATS_URL" $v.nats.url }}
{{- $_ := set $env "ELODROME_NATS_USER" .component }}
{{- $host := include "elodrome.fullname" .root }}
{{- range $peer := splitList " " (include "elodrome.services" .root) }}
{{- $port := include "elodrome.port" (dict "component" $peer "first" 50050) }}
{{- $_ := set $env (printf "ELODROME_%s_ADDRESS" (upper $peer)) (printf "%s-%s.%s.svc:%s" $host $peer $.root.Release.Namespace $port) }}
{{- end }}
{{- if $v.tls.existingSecret }}{{ $_ := set $env "ELODROME_TLS_DIR" "/run/secrets/tls" }}{{ end }}
{{- with $v.tracing.otlpEndpoint }}{{ $_ := set $env "ELODROME_OTLP_ENDPOINT" . }}{{ end }}
{{- if eq .component "gateway" }}
{{- $_ := set $env "ELODROME_HTTP_PORT" "8080" }}
{{- end }}
{{- if eq .component "registry" }}
{{- $_ := set $env "ELODROME_ARTIFACTS_URL" $v.objectStore.url }}
{{- with $v.objectStore.region }}{{ $_ := set $env "AWS_REGION" . }}{{ end }}
{{- with $v.objectStore.endpoint }}{{ $_ := set $env "AWS_ENDPOINT_URL" . }}{{ end }}
{{- if hasPrefix "http://" $v.objectStore.endpoint }}{{ $_ := set $env "AWS_ALLOW_HTTP" "true" }}{{ end }}
{{- end }}
{{- if eq .component "executor" }}
{{- $_ := set $env "ELODROME_DRIVER" "kubernetes" }}
{{- $_ := set $env "ELODROME_KUBE_NAMESPACE" $v.workloads.namespace }}
{{- $_ := set $env "ELODROME_WORKER_IMAGE" (include "elodrome.image" (dict "root" .root "image" $v.workloads.image)) }}
{{- $classes := dict }}
{{- with $v.workloads.priorityClass.name }}{{ $_ := set $classes "trainer" . }}{{ $_ := set $classes "referee" . }}{{ end }}
{{- with $v.workloads.match.priorityClass.name }}{{ $_ := set $classes "match" . }}{{ end }}
{{- with $v.workloads.build.priorityClass.name }}{{ $_ := set $classes "build" . }}{{ end }}
{{- with $classes }}{{ $_ := set $env "ELODROME_KUBE_PRIORITY_CLASSES" (toJson .) }}{{ end }}
{{- with $v.workloads.runtimeClassName }}{{ $_ := set $env "ELODROME_KUBE_RUNTIME_CLASS" . }}{{ end }}
{{- with $v.workloads.match.runtimeClassName }}{{ $_ := set $env "ELODROME_KUBE_MATCH_RUNTIME_CLASS" . }}{{ end }}
{{- with $v.workloads.kueue.queue }}{{ $_ := set $env "ELODROME_KUBE_QUEUE" . }}{{ end }}
{{- with $v.workloads.tlsSecret }}{{ $_ := set $env "ELODROME_KUBE_TLS_SECRET" . }}{{ end }}
{{- with $v.image.pullSecrets }}{{ $_ := set $env "ELODROME_KUBE_IMAGE_PULL_SECRETS" (toJson .) }}{{ end }}
{{- end }}
{{- $env | toJson }}
{{- end }}

{{/* The env of a service: what the chart decides, then what the values add. */}}
{{- define "elodrome.environment" -}}
{{- range $name, $value := include "elodrome.ownSettings" . | fromJson }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- range $name, $value := (include "elodrome.service" . | fromJson).settings }}
- {name: ELODROME_{{ upper $name }}, value: {{ include "elodrome.text" $value | quote }}}
{{- end }}
{{- end }}

{{/* A value as a service reads it. Helm holds every number as a float and writes 8e+09. */}}
{{- define "elodrome.text" -}}
{{- if or (kindIs "slice" .) (kindIs "map" .) }}{{ toJson . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}
{{- else }}{{ toString . }}
{{- end }}
{{- end }}
