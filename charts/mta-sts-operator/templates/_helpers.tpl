{{/* Name of the release's objects. Cut so that the longest suffix still fits into 63 characters. */}}
{{- define "mta-sts-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Name of what belongs to the policy server: mta-sts-policy for mta-sts-operator. */}}
{{- define "mta-sts-operator.policyName" -}}
{{- printf "%s-policy" (include "mta-sts-operator.fullname" . | trimSuffix "-operator") -}}
{{- end -}}

{{/* Name of cluster-scoped objects: two releases of one name in two namespaces do not meet. */}}
{{- define "mta-sts-operator.clusterName" -}}
{{- printf "%s-%s" (include "mta-sts-operator.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "mta-sts-operator.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects pods never changes, whatever the values. */}}
{{- define "mta-sts-operator.selectorLabels" -}}
app.kubernetes.io/name: mta-sts-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mta-sts-operator.labels" -}}
helm.sh/chart: {{ include "mta-sts-operator.chart" . }}
{{ include "mta-sts-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mta-sts-operator.annotations" -}}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "mta-sts-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mta-sts-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* In the sidecar the policy server is who the operator is. */}}
{{- define "mta-sts-operator.policyServiceAccountName" -}}
{{- if eq .Values.policyServer.mode "Sidecar" -}}
{{- include "mta-sts-operator.serviceAccountName" . -}}
{{- else if .Values.serviceAccount.create -}}
{{- default (include "mta-sts-operator.policyName" .) .Values.serviceAccount.policyServerName -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.policyServerName -}}
{{- end -}}
{{- end -}}

{{- define "mta-sts-operator.image" -}}
{{- $registry := .Values.global.imageRegistry | default .Values.image.registry -}}
{{- $name := ternary .Values.image.repository (printf "%s/%s" $registry .Values.image.repository) (empty $registry) -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What holds for every pod. */}}
{{- define "mta-sts-operator.pod" -}}
{{- $secrets := concat .Values.imagePullSecrets .Values.global.imagePullSecrets | uniq -}}
{{- with $secrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
# The token is mounted below: short-lived, and renewed by the kubelet.
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "mta-sts-operator.spread" -}}
topologySpreadConstraints:
{{- if .Values.topologySpreadConstraints }}
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "mta-sts-operator.selectorLabels" . | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- end -}}

{{- define "mta-sts-operator.volumes" -}}
- name: token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: {{ .Values.serviceAccount.tokenExpirationSeconds }}
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mta-sts-operator.mounts" -}}
- name: token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mta-sts-operator.env" -}}
- name: MTA_STS_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: MTA_STS_LOG
  value: {{ .Values.log.level | quote }}
- name: MTA_STS_LOG_FORMAT
  value: {{ .Values.log.format }}
{{- end -}}

{{/* The key that signs DNS answers, in the pods of the policy server alone. */}}
{{- define "mta-sts-operator.dnssecVolume" -}}
- name: dnssec
  secret:
    secretName: {{ .Values.dns.dnssec.secretName }}
    defaultMode: 0440
    items:
      - key: dnssec.key
        path: dnssec.key
{{- end -}}

{{/* The policy server's container: the same in both modes. */}}
{{- define "mta-sts-operator.policyServer" -}}
- name: policy-server
  image: {{ include "mta-sts-operator.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - serve
    - --drain-seconds={{ .Values.policyServer.drainSeconds }}
    {{- if .Values.dns.enabled }}
    - --dns-listen={{ .Values.dns.listen }}
    {{- if .Values.dns.dnssec.secretName }}
    - --dns-key-file=/etc/mta-sts/dnssec/dnssec.key
    {{- end }}
    {{- end }}
    {{- with .Values.policyServer.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    {{- include "mta-sts-operator.env" . | nindent 4 }}
    {{- with .Values.policyServer.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: http
      containerPort: 8080
    - name: policy-admin
      containerPort: 8081
    {{- if .Values.dns.enabled }}
    {{- $port := last (splitList ":" .Values.dns.listen) | int }}
    - name: dns
      containerPort: {{ $port }}
      protocol: UDP
    - name: dns-tcp
      containerPort: {{ $port }}
      protocol: TCP
    {{- end }}
  # Ready once all records were read. A watch that is lost later does not make it unready.
  readinessProbe:
    httpGet:
      path: /readyz
      port: policy-admin
    periodSeconds: 2
    failureThreshold: 2
  livenessProbe:
    httpGet:
      path: /healthz
      port: policy-admin
    periodSeconds: 10
    timeoutSeconds: 5
  resources:
    {{- toYaml .Values.policyServer.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    {{- include "mta-sts-operator.mounts" . | nindent 4 }}
    {{- if and .Values.dns.enabled .Values.dns.dnssec.secretName }}
    - name: dnssec
      mountPath: /etc/mta-sts/dnssec
      readOnly: true
    {{- end }}
{{- end -}}

{{/* The operator, in a binding. */}}
{{- define "mta-sts-operator.subject" -}}
- kind: ServiceAccount
  name: {{ include "mta-sts-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
