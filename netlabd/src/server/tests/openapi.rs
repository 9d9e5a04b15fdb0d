// SPDX-License-Identifier: GPL-3.0-or-later
//! The generated description: that it is OpenAPI 3.1, and that it tells of everything.

use std::collections::HashSet;

use super::*;

/// The routes of `docs/api.md`.
const ROUTES: [(&str, &str); 46] = [
    ("/livez", "get"),
    ("/healthz", "get"),
    ("/readyz", "get"),
    ("/metrics", "get"),
    ("/openapi.json", "get"),
    ("/v1/version", "get"),
    ("/v1/doctor", "get"),
    ("/v1/programmed", "get"),
    ("/v1/proxy", "get"),
    ("/v1/proxy/ruleset", "get"),
    ("/v1/proxy/services/{namespace}/{name}", "get"),
    ("/v1/flows", "get"),
    ("/v1/dns/query", "get"),
    ("/v1/dns/records", "get"),
    ("/v1/dns/log", "get"),
    ("/v1/namespaces/{namespace}/pods/{name}/dns/query", "get"),
    ("/v1/namespaces/{namespace}/pods/{name}/dns/log", "get"),
    ("/v1/apply", "post"),
    ("/v1/network", "get put"),
    ("/v1/tokens", "get post"),
    ("/v1/explain/pods/{namespace}/{name}", "get"),
    ("/v1/explain/services/{namespace}/{name}", "get"),
    ("/v1/explain/proxy", "get"),
    ("/v1/explain/network", "get"),
    ("/v1/tokens/{id}", "delete"),
    ("/v1/namespaces", "get post"),
    ("/v1/namespaces/{name}", "get put patch delete"),
    ("/v1/nodes", "get"),
    ("/v1/nodes/{name}", "get put patch delete"),
    ("/v1/ipamblocks", "get"),
    ("/v1/ipamblocks/{name}", "get"),
    ("/v1/pods", "get"),
    ("/v1/events", "get"),
    ("/v1/namespaces/{namespace}/pods", "get post delete"),
    ("/v1/namespaces/{namespace}/pods/{name}", "get put patch delete"),
    ("/v1/namespaces/{namespace}/pods/{name}/exec", "post"),
    ("/v1/namespaces/{namespace}/pods/{name}/portforward", "post"),
    ("/v1/namespaces/{namespace}/pods/{name}/log", "get"),
    ("/v1/services", "get"),
    ("/v1/endpointslices", "get"),
    ("/v1/namespaces/{namespace}/services", "get post delete"),
    ("/v1/namespaces/{namespace}/services/{name}", "get put patch delete"),
    ("/v1/namespaces/{namespace}/endpointslices", "get post delete"),
    ("/v1/namespaces/{namespace}/endpointslices/{name}", "get put patch delete"),
    ("/v1/namespaces/{namespace}/events", "get"),
    ("/v1/namespaces/{namespace}/events/{name}", "get"),
];

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let lab = Lab::new().await;
    let document = lab.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, item) in paths {
        for method in item.as_object().expect("an item").keys() {
            described.push((path.clone(), method.clone()));
        }
    }
    let mut wanted: Vec<(String, String)> = Vec::new();
    for (path, methods) in ROUTES {
        wanted.extend(methods.split(' ').map(|method| (path.to_owned(), method.to_owned())));
    }
    described.sort();
    wanted.sort();
    assert_eq!(described, wanted);
}

#[tokio::test]
async fn the_description_has_the_shape_of_openapi_3_1() {
    let lab = Lab::new().await;
    let reply = lab.get("/openapi.json").await;
    assert_eq!(reply.header("content-type"), "application/json");
    let document = reply.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "netlab");
    assert_eq!(document["info"]["version"], "1.2.3");
    let mut ids = HashSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let place = format!("{method} {path}");
            let id = operation["operationId"].as_str().expect(&place);
            assert!(ids.insert(id.to_owned()), "{place}: {id} is not unique");
            assert!(operation["summary"].is_string(), "{place} has no summary");
            check_parameters(path, operation, &place);
            let responses = operation["responses"].as_object().expect(&place);
            assert!(!responses.is_empty(), "{place}");
            for (code, response) in responses {
                assert!(code == "default" || code.parse::<u16>().is_ok(), "{place}: {code}");
                assert!(response["description"].is_string(), "{place}: {code}");
            }
            let wants_body = matches!(method.as_str(), "put" | "patch")
                || (method == "post" && !path.ends_with("/portforward"));
            assert_eq!(operation["requestBody"]["content"].is_object(), wants_body, "{place}");
            // The command of an exec is in the query as a rule.
            let needs_body = wants_body && !path.ends_with("/exec");
            assert_eq!(operation["requestBody"]["required"] == true, needs_body, "{place}");
        }
    }
    check_references(&document, &document);
}

fn check_parameters(path: &str, operation: &Value, place: &str) {
    let none = Vec::new();
    let parameters = operation["parameters"].as_array().unwrap_or(&none);
    let mut names = HashSet::new();
    for parameter in parameters {
        let name = parameter["name"].as_str().expect(place);
        assert!(names.insert(name), "{place}: {name} twice");
        assert!(parameter["schema"].is_object(), "{place}: {name}");
        match parameter["in"].as_str() {
            Some("path") => assert_eq!(parameter["required"], true, "{place}: {name}"),
            Some("query") => assert!(parameter["description"].is_string(), "{place}: {name}"),
            other => panic!("{place}: {name} is in {other:?}"),
        }
    }
    for word in path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}')) {
        assert!(names.contains(word), "{place} does not describe {word}");
    }
}

/// Every `$ref` leads somewhere.
fn check_references(document: &Value, value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                let pointer = target.strip_prefix('#').expect("a reference into the document");
                assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
            }
            fields.values().for_each(|field| check_references(document, field));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item)),
        _ => {}
    }
}

#[tokio::test]
async fn objects_are_described_as_they_are_on_the_wire() {
    let lab = Lab::new().await;
    let document = lab.get("/openapi.json").await.json();
    let pod = lab.pod("web", serde_json::json!({})).await;
    let schema = &document["components"]["schemas"]["Pod"];
    for field in pod.as_object().expect("an object").keys() {
        assert!(schema["properties"][field].is_object(), "{field} is not described");
    }
    assert_eq!(schema["properties"]["kind"]["const"], "Pod");
    let read = &document["paths"]["/v1/namespaces/{namespace}/pods/{name}"]["get"]["responses"];
    let of = |response: &Value| response["content"]["application/json"]["schema"].clone();
    assert_eq!(of(&read["200"])["$ref"], "#/components/schemas/Pod");
    assert_eq!(of(&read["default"])["$ref"], "#/components/schemas/ApiError");
    let list = &document["paths"]["/v1/pods"]["get"]["responses"]["200"];
    assert_eq!(of(list)["$ref"], "#/components/schemas/PodList");
}
