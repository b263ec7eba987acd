//! What the API server has written down of the requests of ServiceAccounts.

use serde_json::Value;

/// One answered request.
#[derive(Clone, Debug)]
pub struct Audited {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    pub verb: String,
    pub group: String,
    /// With its subresource.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    /// The status of the answer.
    pub code: u64,
    /// Why it was allowed or refused, in the API server's words.
    pub allowed_by: String,
    /// A server-side apply that made its object, or was not to: it takes the right to create as well.
    pub made: bool,
}

impl Audited {
    /// One line of the log; `None` for a request that is about no resource.
    pub fn parse(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).expect("an audit event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = event.get("objectRef")?;
        let resource = match object["subresource"].as_str() {
            Some(sub) => format!("{}/{sub}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        let code = event["responseStatus"]["code"].as_u64().unwrap_or_default();
        let verb = text(&event["verb"]);
        Some(Self {
            user: text(&event["user"]["username"]),
            made: verb == "patch" && [201, 403].contains(&code),
            verb,
            group: text(&object["apiGroup"]),
            resource,
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
            code,
            allowed_by: text(&event["annotations"]["authorization.k8s.io/reason"]),
        })
    }
}
