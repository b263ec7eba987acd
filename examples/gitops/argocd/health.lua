-- Argo CD's health check of MtaStsPolicy, DnsProvider and ClusterDnsProvider (docs/gitops.md).
-- Healthy: published. Progressing: the operator is at it. Suspended: it waits for a person, or
-- spec.suspend is set. Degraded: nothing changes until somebody acts, or mail is not safe.
local health = {status = "Progressing", message = "the operator has not looked at it yet"}

if obj.metadata.deletionTimestamp ~= nil then
  health.message = "it is being deleted"
  return health
end
if obj.status == nil or obj.status.conditions == nil then
  return health
end
-- What is said is about an older spec.
if obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "the operator has not looked at this generation yet"
  return health
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  conditions[condition.type] = condition
end
local ready, stalled, healthy = conditions.Ready, conditions.Stalled, conditions.Healthy
if ready == nil then
  return health
end
health.message = ready.message
-- Before anything is announced no sender goes by it.
local announced = obj.status.policy ~= nil and obj.status.policy.announcedAt ~= nil

if stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
elseif announced and healthy ~= nil and healthy.status == "False" then
  health.status = "Degraded"
  health.message = healthy.message
elseif obj.spec.suspend then
  health.status = "Suspended"
elseif ready.status == "True" then
  health.status = "Healthy"
elseif conditions.Reconciling == nil then
  -- Records are to be set by hand, or a guard holds the policy back.
  health.status = "Suspended"
end
return health
