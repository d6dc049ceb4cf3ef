{{- define "elodrome.services" -}}gateway registry executor evaluator sessions{{- end }}

{{- define "elodrome.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels that never change: selectors are made of them. Takes root and component. */}}
{{- define "elodrome.selector" -}}
app.kubernetes.io/name: elodrome
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "elodrome.labels" -}}
{{ include "elodrome.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* The values of a service, over the defaults. Takes root and component. */}}
{{- define "elodrome.service" -}}
{{- mergeOverwrite (deepCopy .root.Values.defaults) (index .root.Values .component) | toJson }}
{{- end }}

{{/* Takes root and image. */}}
{{- define "elodrome.image" -}}
{{- $name := .image.repository }}
{{- with .root.Values.image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end }}
{{- if .image.digest }}{{ $name }}@{{ .image.digest }}{{ else }}{{ $name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The port of a service: the fixed ones, in the order of the services. Takes component, first. */}}
{{- define "elodrome.port" -}}
{{- $place := dict "gateway" 0 "registry" 1 "executor" 2 "evaluator" 3 "sessions" 4 }}
{{- add .first (get $place .component) }}
{{- end }}

{{/* Where a service answers probes, which speak no TLS. Takes root and component. */}}
{{- define "elodrome.probePort" -}}
{{- include "elodrome.port" (dict "component" .component "first" (ternary 50060 50050 (not (empty .root.Values.tls.existingSecret)))) }}
{{- end }}

{{- define "elodrome.databaseUrl" -}}
{{- $p := .root.Values.postgresql }}
{{- $query := printf "sslmode=%s" $p.sslMode }}
{{- if $p.ca.existingSecret }}{{ $query = printf "%s&sslrootcert=/run/secrets/postgresql/%s" $query $p.ca.key }}{{ end }}
{{- printf "postgresql+psycopg://%s@%s:%v/%s?%s" .component $p.host $p.port $p.database $query }}
{{- end }}

{{/* Names of Secrets: as told, else those that the chart makes. */}}
{{- define "elodrome.secret.postgresql" -}}{{ .Values.postgresql.existingSecret | default (printf "%s-postgresql" (include "elodrome.fullname" .)) }}{{- end }}
{{- define "elodrome.secret.nats" -}}{{ .Values.nats.existingSecret | default (printf "%s-nats" (include "elodrome.fullname" .)) }}{{- end }}
{{- define "elodrome.secret.keys" -}}{{ .Values.auth.existingSecret | default (printf "%s-keys" (include "elodrome.fullname" .)) }}{{- end }}
{{- define "elodrome.secret.admin" -}}{{ .Values.auth.bootstrapAdmin.existingSecret | default (printf "%s-admin" (include "elodrome.fullname" .)) }}{{- end }}

{{/* Files of a pod: only the secrets it is meant to know. Takes root, component and which. */}}
{{- define "elodrome.secretVolumes" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- if has "database" .which }}
      - secret:
          name: {{ include "elodrome.secret.postgresql" .root | quote }}
          items: [{key: {{ .component }}, path: database_password}]
      {{- end }}
      {{- if has "bus" .which }}
      - secret:
          name: {{ include "elodrome.secret.nats" .root | quote }}
          items: [{key: {{ .component }}, path: nats_password}]
      {{- end }}
      {{- if has "busAdmin" .which }}
      - secret:
          name: {{ include "elodrome.secret.nats" .root | quote }}
          items: [{key: bus_admin, path: nats_admin_password}]
      {{- end }}
      {{- if has "admin" .which }}
      - secret:
          name: {{ include "elodrome.secret.admin" .root | quote }}
          items: [{key: password, path: admin_password}]
      {{- end }}
      {{- if and (has "store" .which) .root.Values.objectStore.existingSecret }}
      - secret:
          name: {{ .root.Values.objectStore.existingSecret | quote }}
          items:
            - {key: access_key_id, path: artifacts_access_key_id}
            - {key: secret_access_key, path: artifacts_secret_access_key}
      {{- end }}
{{- if has "keys" .which }}
- name: keys
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "elodrome.secret.keys" .root | quote }}
          items:
            - {key: jwks.json, path: jwks.json}
            - {key: {{ .component }}.pem, path: {{ .component }}.pem}
{{- end }}
{{- if and (has "database" .which) .root.Values.postgresql.ca.existingSecret }}
- name: postgresql
  secret:
    secretName: {{ .root.Values.postgresql.ca.existingSecret | quote }}
    defaultMode: 0440
    items: [{key: {{ .root.Values.postgresql.ca.key | quote }}, path: {{ .root.Values.postgresql.ca.key | quote }}}]
{{- end }}
{{- if and (has "tls" .which) .root.Values.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ .root.Values.tls.existingSecret | quote }}
    defaultMode: 0440
    items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}, {key: ca.crt, path: ca.crt}]
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- end }}

{{- define "elodrome.secretMounts" -}}
- {name: secrets, mountPath: /run/secrets/elodrome, readOnly: true}
{{- if has "keys" .which }}
- {name: keys, mountPath: /run/secrets/keys, readOnly: true}
{{- end }}
{{- if and (has "database" .which) .root.Values.postgresql.ca.existingSecret }}
- {name: postgresql, mountPath: /run/secrets/postgresql, readOnly: true}
{{- end }}
{{- if and (has "tls" .which) .root.Values.tls.existingSecret }}
- {name: tls, mountPath: /run/secrets/tls, readOnly: true}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "elodrome.podSecurity" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "elodrome.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "elodrome.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ quote . }}
  {{- end }}
{{- end }}
{{- end }}
