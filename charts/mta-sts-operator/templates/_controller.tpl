{{/* A flag that is given once for each entry. */}}
{{- define "mta-sts-operator.each" -}}
{{- range .list }}
- {{ printf "%s=%v" $.flag . | quote }}
{{- end }}
{{- end -}}

{{/* The controller's arguments. */}}
{{- define "mta-sts-operator.controllerArgs" -}}
- controller
- --policy-service={{ include "mta-sts-operator.policyName" . }}
# The number: a name would need the right to read Services for a Gateway.
- --policy-port=8080
- --public-gate={{ .Values.settings.publicGate }}
- --dns-verify={{ .Values.settings.dnsVerify }}
- --smtp={{ .Values.settings.smtp }}
- --probe-interval={{ .Values.settings.probeIntervalSeconds | int64 }}
- --retirement-delay={{ .Values.settings.retirementDelaySeconds | int64 }}
{{- with .Values.settings.installationId }}
- {{ printf "--installation-id=%s" . | quote }}
{{- end }}
{{- with .Values.defaults.dnsProvider }}
- --default-dns-provider={{ . }}
{{- end }}
{{- with .Values.defaults.ingressClass }}
- --default-ingress-class={{ . }}
{{- end }}
{{- with .Values.defaults.gateway }}
- --default-gateway={{ . }}
{{- end }}
{{- if .Values.tenancy }}
- --tenancy-file=/etc/mta-sts/tenancy/tenancy.yaml
{{- end }}
{{- if or .Values.privateCA.configMap .Values.privateCA.secret }}
- --ca-file=/etc/mta-sts/private-ca/{{ .Values.privateCA.key }}
{{- end }}
{{- if .Values.allowed.privateProviders }}
- --allow-private-providers
{{- end }}
{{- include "mta-sts-operator.each" (dict "flag" "--watch-namespace" "list" .Values.watchNamespaces) }}
{{- include "mta-sts-operator.each" (dict "flag" "--allow-ingress-class" "list" .Values.allowed.ingressClasses) }}
{{- include "mta-sts-operator.each" (dict "flag" "--allow-issuer" "list" .Values.allowed.issuers) }}
{{- include "mta-sts-operator.each" (dict "flag" "--allow-gateway" "list" .Values.allowed.gateways) }}
{{- include "mta-sts-operator.each" (dict "flag" "--allow-tls-secret" "list" .Values.allowed.tlsSecrets) }}
{{- include "mta-sts-operator.each" (dict "flag" "--allow-annotation" "list" .Values.allowed.annotationPrefixes) }}
{{- include "mta-sts-operator.each" (dict "flag" "--allow-target" "list" .Values.allowed.targets) }}
{{- include "mta-sts-operator.each" (dict "flag" "--connect-to" "list" .Values.settings.connectTo) }}
{{- include "mta-sts-operator.each" (dict "flag" "--authoritative" "list" .Values.settings.authoritative) }}
{{- include "mta-sts-operator.each" (dict "flag" "--resolver" "list" .Values.settings.resolvers) }}
{{- include "mta-sts-operator.each" (dict "flag" "--dns-root" "list" .Values.settings.dnsRoots) }}
{{- with .Values.controller.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Combinations that cannot work stop here, with a sentence. */}}
{{- define "mta-sts-operator.validate" -}}
{{- if and .Values.policyServer.autoscaling.enabled (ne .Values.policyServer.mode "Deployment") -}}
{{- fail "policyServer.autoscaling.enabled needs policyServer.mode: Deployment: in the sidecar the policy server has no Deployment of its own to scale" -}}
{{- end -}}
{{- if and .Values.policyServer.autoscaling.enabled (gt (int .Values.policyServer.autoscaling.minReplicas) (int .Values.policyServer.autoscaling.maxReplicas)) -}}
{{- fail "policyServer.autoscaling.minReplicas is above maxReplicas: lower the one or raise the other" -}}
{{- end -}}
{{- if and .Values.privateCA.configMap .Values.privateCA.secret -}}
{{- fail "privateCA names a ConfigMap and a Secret: give one of them" -}}
{{- end -}}
{{- if and .Values.defaults.gateway (not .Values.gatewayAPI.enabled) -}}
{{- fail "defaults.gateway needs gatewayAPI.enabled: true, since the operator has no right to look at Gateways without" -}}
{{- end -}}
{{- if and .Values.allowed.gateways (not .Values.gatewayAPI.enabled) -}}
{{- fail "allowed.gateways needs gatewayAPI.enabled: true, since the operator has no right to look at Gateways without" -}}
{{- end -}}
{{- if and .Values.defaults.gateway .Values.defaults.ingressClass -}}
{{- fail "defaults.gateway and defaults.ingressClass exclude each other: a policy that names no hosting gets one of them" -}}
{{- end -}}
{{- if and .Values.watchNamespaces .Values.defaults.dnsProvider (not .Values.rbac.clusterProviders) -}}
{{- fail "defaults.dnsProvider is a ClusterDnsProvider, and with watchNamespaces it can be read only with rbac.clusterProviders: true" -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int .Values.policyServer.drainSeconds) -}}
{{- fail "terminationGracePeriodSeconds must be longer than policyServer.drainSeconds, or the policy server is killed while it still answers" -}}
{{- end -}}
{{- if and .Values.serviceAccount.policyServerName (eq .Values.policyServer.mode "Sidecar") -}}
{{- fail "serviceAccount.policyServerName needs policyServer.mode: Deployment: in the sidecar the policy server uses the operator's ServiceAccount" -}}
{{- end -}}
{{- if and .Values.rbac.create (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty: every pod of the namespace that names no ServiceAccount would get the operator's rights; name one" -}}
{{- end -}}
{{- end -}}
