//! The served API document: the one that was agreed on, complete about every operation, and true to what is answered.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::home::Home;
use tests::table::rows;

const GOLDEN: &str = "data/openapi.json";
/// Set, it makes the golden file what is served.
const RENEW: &str = "KAIGI_RENEW_OPENAPI";

/// Every operation with its path and method.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    document["paths"].as_object().expect("paths").iter().flat_map(|(path, item)| {
        let operations = item.as_object().expect("operations");
        operations.iter().map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn document(name: &str) -> Value {
    Home::demo(name).daemon.call("GET", "/api/v1/openapi.json", None).json()
}

#[test]
fn the_served_document_is_the_golden_one() {
    let served = serde_json::to_string_pretty(&document("golden")).expect("JSON") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os(RENEW).is_some() {
        fs::write(&path, &served).expect("the tests' own directory is writable");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let first = served.lines().zip(golden.lines()).position(|(served, golden)| served != golden);
    let (line, place) = match first {
        Some(at) => (at, served.lines().nth(at).unwrap_or_default()),
        None => (served.lines().count().min(golden.lines().count()), ""),
    };
    assert!(
        served == golden,
        "the API document is not tests/{GOLDEN} from line {} on: {place}\n\
         If the change is meant, look at it in a diff after: {RENEW}=1 cargo test -p tests --test openapi",
        line + 1
    );
}

#[test]
fn every_operation_has_a_name_a_place_and_says_who_may() {
    let (document, mut names) = (document("operations"), BTreeSet::new());
    let schemes = document["components"]["securitySchemes"].as_object().expect("schemes");
    for (path, method, operation) in operations(&document) {
        let of = format!("{method} {path}");
        let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{of} has no operationId"));
        assert!(names.insert(name), "{of}: {name} is also another operation's");
        assert!(operation["tags"].as_array().is_some_and(|tags| !tags.is_empty()), "{of} has no tag");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{of} has no summary");
        let security = operation["security"].as_array().unwrap_or_else(|| panic!("{of} has no security"));
        assert!(!security.is_empty(), "{of} has no security");
        for requirement in security.iter().flat_map(|one| one.as_object().expect("an object").keys()) {
            assert!(schemes.contains_key(requirement), "{of}: {requirement} is no scheme");
        }
        // A bad request or token, a disabled account and a busy server may be the answer to anything.
        for code in ["400", "401", "403", "503"] {
            assert!(operation["responses"][code].is_object(), "{of} does not say that it may answer {code}");
        }
        // What nobody may do without a token says so.
        let row = rows().into_iter().find(|row| row.route().eq_ignore_ascii_case(&of)).expect("a row");
        let open = security.iter().any(|one| one.as_object().is_some_and(serde_json::Map::is_empty));
        let refused = row.codes[0] == Some(401);
        assert!(open || refused, "{of}: answers anonymous {:?} and says it needs a token", row.codes[0]);
    }
}

#[test]
fn every_code_of_the_table_is_documented() {
    let document = document("codes");
    let api = rows().into_iter().filter(|row| row.path.starts_with("/api/v1/"));
    for row in api.filter(|row| row.path != "/api/v1/openapi.json") {
        let responses = &document["paths"][&row.path][row.method.to_lowercase()]["responses"];
        let documented = responses.as_object().unwrap_or_else(|| panic!("{} is not documented", row.route()));
        for code in row.codes.iter().flatten() {
            assert!(documented.contains_key(&code.to_string()), "{} may answer {code}", row.route());
        }
    }
}

#[test]
fn a_body_has_no_fields_but_those_listed() {
    let document = document("bodies");
    let mut bodies = 0;
    for (path, method, operation) in operations(&document) {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let Some(name) = schema.as_str() else { continue };
        let name = name.rsplit('/').next().expect("a name");
        let closed = &document["components"]["schemas"][name]["additionalProperties"];
        assert_eq!(closed, &Value::Bool(false), "{method} {path}: {name}");
        bodies += 1;
    }
    assert!(bodies > 10, "{bodies}");
}

#[test]
fn every_change_takes_if_match_and_every_list_is_a_page() {
    let document = document("rules");
    let parameters = |operation: &Value, place: &str| -> BTreeSet<String> {
        let all = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named = all.iter().filter(|parameter| parameter["in"] == place);
        named.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
    };
    let (mut changes, mut lists) = (0, 0);
    for (path, method, operation) in operations(&document) {
        let of = format!("{method} {path}");
        // Signing out ends what the cookie names, whatever became of it.
        if matches!(method, "patch" | "put" | "delete") && of != "delete /api/v1/session" {
            assert!(parameters(operation, "header").contains("If-Match"), "{of} takes no If-Match");
            assert!(operation["responses"]["412"].is_object(), "{of} does not say that it may answer 412");
            changes += 1;
        }
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        let schema = schema.as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
        let properties = &document["components"]["schemas"][schema]["properties"];
        if method == "get" && properties["items"].is_object() {
            assert!(properties["next_cursor"].is_object(), "{of}: a list without next_cursor");
            // All of it, or a page of it: never a part of the rules.
            let query: Vec<String> = parameters(operation, "query").into_iter().collect();
            assert!(query.is_empty() || query == ["cursor", "limit"], "{of}: {query:?}");
            lists += 1;
        }
    }
    assert!(changes >= 9 && lists >= 7, "{changes} changes, {lists} lists");
}
