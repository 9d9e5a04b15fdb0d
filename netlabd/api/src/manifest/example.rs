// SPDX-License-Identifier: GPL-3.0-or-later
//! Examples of fields, in the words of the format that the user writes.

use serde_json::Value as Json;

use super::Format;

/// What a field may look like.
pub(super) fn example(field: &str) -> Option<Json> {
    use serde_json::json;
    Some(match field {
        "command" => json!(["sleep", "60"]),
        "args" => json!(["--port", "8080"]),
        "env" => json!([{ "name": "COLOR", "value": "red" }]),
        "ports" => json!([{ "containerPort": 8080 }]),
        "labels" => json!({ "app": "web" }),
        "annotations" => json!({ "note": "text" }),
        "readinessProbe" | "livenessProbe" => json!({ "httpGet": { "port": 8080 } }),
        "httpGet" | "tcpSocket" => json!({ "port": 8080 }),
        "exec" => json!({ "command": ["cat", "/tmp/ready"] }),
        "resources" => json!({ "limits": { "memory": "64Mi" } }),
        "limits" => json!({ "memory": "64Mi" }),
        "cpu" => json!("500m"),
        "memory" => json!("64Mi"),
        "pids" => json!(100),
        "dnsConfig" => json!({ "nameservers": ["10.43.0.10"] }),
        "nameservers" => json!(["10.43.0.10"]),
        "searches" => json!(["example.com"]),
        "options" => json!([{ "name": "ndots", "value": "2" }]),
        "httpHeaders" => json!([{ "name": "Accept", "value": "text/plain" }]),
        "port" | "containerPort" => json!(8080),
        "metadata" => json!({ "name": "web" }),
        _ => return None,
    })
}

/// `field = value`, as the format writes it.
pub(super) fn assignment(field: &str, value: &Json, format: Format) -> String {
    let value = rendered(value, format);
    match format {
        Format::Toml => format!("{field} = {value}"),
        Format::Yaml => format!("{field}: {value}"),
        Format::Json => format!("\"{field}\": {value}"),
    }
}

pub(super) fn rendered(value: &Json, format: Format) -> String {
    match value {
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| rendered(item, format)).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| assignment(key, value, format)).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}
