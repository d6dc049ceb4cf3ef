{{/* Every value that would make an install fail later, refused now with its name. */}}
{{- define "elodrome.refuse" -}}
{{- $v := .Values }}
{{- if not $v.postgresql.host }}{{ fail "postgresql.host: name the host of your Postgres; the chart brings none" }}{{ end }}
{{- if and (hasPrefix "verify-" $v.postgresql.sslMode) (not $v.postgresql.ca.existingSecret) }}{{ fail (printf "postgresql.ca.existingSecret: sslMode %s needs the certificate authority of the server" $v.postgresql.sslMode) }}{{ end }}
{{- if not $v.nats.url }}{{ fail "nats.url: name your NATS server, such as nats://nats.nats:4222; the chart brings none" }}{{ end }}
{{- if not $v.objectStore.url }}{{ fail "objectStore.url: name where checkpoints are kept, such as s3://bucket/prefix" }}{{ end }}
{{- if not $v.dev.generateSecrets }}
{{- range $path, $name := dict "postgresql.existingSecret" $v.postgresql.existingSecret "nats.existingSecret" $v.nats.existingSecret "auth.existingSecret" $v.auth.existingSecret }}
{{- if not $name }}{{ fail (printf "%s: name a Secret; only dev.generateSecrets makes one" $path) }}{{ end }}
{{- end }}
{{- $services := splitList " " (include "elodrome.services" .) }}
{{- include "elodrome.refuseWeak" (dict "root" . "path" "postgresql.existingSecret" "name" $v.postgresql.existingSecret "keys" $services) }}
{{- include "elodrome.refuseWeak" (dict "root" . "path" "nats.existingSecret" "name" $v.nats.existingSecret "keys" (append $services "bus_admin")) }}
{{- include "elodrome.refuseWeak" (dict "root" . "path" "auth.bootstrapAdmin.existingSecret" "name" $v.auth.bootstrapAdmin.existingSecret "keys" (list "password")) }}
{{- else if $v.migrations.useHelmHooks }}{{ fail "migrations.useHelmHooks: generated secrets come with the release, after its first hooks; set it to false with dev.generateSecrets" }}{{ end }}
{{- if and $v.tls.existingSecret (not $v.workloads.tlsSecret) }}{{ fail (printf "workloads.tlsSecret: name a Secret of %s with the certificate of the workers, whom services refuse without one" $v.workloads.namespace) }}{{ end }}
{{- if and $v.workloads.tlsSecret (not $v.tls.existingSecret) }}{{ fail "tls.existingSecret: name a Secret; services need a certificate where workers have one" }}{{ end }}
{{- include "elodrome.refuseHalf" (dict "root" . "path" "tls.existingSecret" "name" $v.tls.existingSecret "namespace" .Release.Namespace) }}
{{- include "elodrome.refuseHalf" (dict "root" . "path" "workloads.tlsSecret" "name" $v.workloads.tlsSecret "namespace" $v.workloads.namespace) }}
{{- if and (not $v.workloads.match.runtimeClassName) (not $v.workloads.match.allowUnsafeRuntime) }}{{ fail "workloads.match.runtimeClassName: agents of others need a sandboxed RuntimeClass; allowUnsafeRuntime: true lets them run without" }}{{ end }}
{{- $made := dict }}
{{- range $path, $class := dict "workloads.priorityClass" $v.workloads.priorityClass "workloads.match.priorityClass" $v.workloads.match.priorityClass "workloads.build.priorityClass" $v.workloads.build.priorityClass }}
{{- if and $class.create $class.name }}
{{- if hasKey $made $class.name }}{{ fail (printf "%s.name: %s is made by %s too; set create of one of them to false" $path $class.name (get $made $class.name)) }}{{ end }}
{{- $_ := set $made $class.name $path }}
{{- end }}
{{- end }}
{{- if eq $v.workloads.namespace .Release.Namespace }}{{ fail (printf "workloads.namespace: %s is the namespace of the release; workers need one of their own" .Release.Namespace) }}{{ end }}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}{{ fail "ingress.host: name the host that the Ingress answers to" }}{{ end }}
{{- range $name := splitList " " (include "elodrome.services" .) }}
{{- include "elodrome.refuseService" (dict "root" $ "component" $name) }}
{{- end }}
{{- end }}

{{- define "elodrome.refuseService" -}}
{{- $s := include "elodrome.service" . | fromJson }}
{{- $name := .component }}
{{- $fewest := $s.replicas }}
{{- if $s.autoscaling.enabled }}{{ $fewest = $s.autoscaling.minReplicas }}{{ end }}
{{- if $s.keda.enabled }}{{ $fewest = $s.keda.minReplicas }}{{ end }}
{{- if and $s.podDisruptionBudget.enabled (lt (int $fewest) 2) }}{{ fail (printf "%s.podDisruptionBudget.enabled: a budget with one pod would block drains or protect nothing; run two at least" $name) }}{{ end }}
{{- if and $s.autoscaling.enabled $s.keda.enabled }}{{ fail (printf "%s.keda.enabled: autoscaling is enabled too; only one can scale the service" $name) }}{{ end }}
{{- if $s.keda.enabled }}
{{- if not (include "elodrome.streams" .) }}{{ fail (printf "%s.keda.enabled: the service reads no events to scale by" $name) }}{{ end }}
{{- if not .root.Values.keda.natsMonitoringEndpoint }}{{ fail (printf "keda.natsMonitoringEndpoint: %s.keda needs the host:port of NATS' monitoring" $name) }}{{ end }}
{{- end }}
{{- range $scale := list "autoscaling" "keda" }}
{{- $limits := index $s $scale }}
{{- if and $limits.enabled (gt (int $limits.minReplicas) (int $limits.maxReplicas)) }}{{ fail (printf "%s.%s.minReplicas: %v is more than maxReplicas, %v" $name $scale $limits.minReplicas $limits.maxReplicas) }}{{ end }}
{{- end }}
{{- $owned := include "elodrome.ownSettings" . | fromJson }}
{{- range $setting, $_ := $s.settings }}
{{- if hasKey $owned (printf "ELODROME_%s" (upper $setting)) }}{{ fail (printf "%s.settings.%s: the chart sets this itself" $name $setting) }}{{ end }}
{{- end }}
{{- end }}

{{/* Where there is a cluster to ask: passwords that are short or out of an example. */}}
{{- define "elodrome.refuseWeak" -}}
{{- if .name }}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .name }}
{{- if $found }}
{{- range $key := .keys }}
{{- $password := index ($found.data | default dict) $key | default "" | b64dec }}
{{- if not $password }}{{ fail (printf "%s: Secret %s has no key %s" $.path $.name $key) }}{{ end }}
{{- if lt (len $password) 12 }}{{ fail (printf "%s: key %s of Secret %s is shorter than 12 characters" $.path $key $.name) }}{{ end }}
{{- if regexMatch "(?i)^(elodrome|postgres|nats|password|secret|admin|changeme)+[0-9]*$" $password }}{{ fail (printf "%s: key %s of Secret %s is a password out of an example" $.path $key $.name) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where there is a cluster to ask: a certificate that lacks its key or its authority. */}}
{{- define "elodrome.refuseHalf" -}}
{{- if .name }}
{{- $found := lookup "v1" "Secret" .namespace .name }}
{{- range $key := list "tls.crt" "tls.key" "ca.crt" }}
{{- if and $found (not (index ($found.data | default dict) $key)) }}{{ fail (printf "%s: Secret %s has no key %s" $.path $.name $key) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
