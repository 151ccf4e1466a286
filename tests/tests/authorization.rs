//! Who may do what: every route as every role, against the real daemon, by the table `data/authorization.txt`.
//!
//! Routes come from the served API document and from the list of those beside it, so a route without a row fails, and so does a
//! row without a route. Every cell is asked by somebody fresh about something fresh: none depends on another.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use controlplane::auth::{KeyRing, SigningKey, Tokens};
use controlplane::ids::UserId;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use livekit_protocol as proto;
use prost::Message as _;
use serde_json::{Value, json};
use tests::daemon::Daemon;
use tests::home::{JSON, MEETINGS, merge};
use tests::http::Answer;
use tests::livekit;
use tests::people::{Office, PASSWORD};
use tests::signing;
use tests::table::{COHOST, ROLES, Row, rows};

const OFFER: &str = include_str!("../../controlplane/tests/data/clients/chromium_offer.sdp");
const RESTART: &str = "a=ice-ufrag:fresh\r\na=ice-pwd:fresh-password-of-22-or-more\r\n";
/// Cells asked at a time: most of a cell's time is the disk's.
const AT_ONCE: usize = 8;

/// The one daemon, and what is needed to make people on it.
struct World {
    office: Office,
    admin: String,
    tokens: Tokens,
    /// A program that may act for people, with its secret.
    client: (String, String),
    /// One of the operator's own.
    first_party: String,
}

/// Somebody with an account.
struct Account {
    id: String,
    bearer: String,
    invitation: String,
}

/// How the one who asks says who it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// By the token that the route takes.
    Token,
    /// By the cookie of a browser.
    Session,
}

/// One cell: who asks, and whose things it asks about.
struct Cell<'a> {
    world: &'a World,
    role: &'a str,
    host: Account,
    meeting: String,
    participant: Account,
    /// Asks, if it is neither of them.
    third: Option<Account>,
}

impl World {
    fn open() -> Self {
        // More is asked in these seconds than an honest network would.
        let flags = ["--meetings-per-day", "0", "--requests-per-address", "0", "--requests-per-user", "0"];
        let office = Office::with_known_key("authorization", &flags);
        let ada = office.set_up(&office.setup_token());
        assert_eq!(ada.status, 200, "{ada:?}");
        let key = SigningKey::from_pkcs8(&signing::pkcs8()).expect("a key");
        let tokens = Tokens::new(KeyRing::of(key));
        let mut world = Self {
            office,
            admin: String::new(),
            tokens,
            client: Default::default(),
            first_party: String::new(),
        };
        world.admin = world.bearer(&ada.field("id"));
        let new = json!({"name": "Program", "confidential": true});
        let made = world.ask_as_admin("/api/v1/oauth-clients", &new);
        world.client = (made.field("client_id"), made.field("client_secret"));
        let new = json!({"name": "Own", "redirect_uris": ["https://app.example/"], "first_party": true});
        world.first_party = world.ask_as_admin("/api/v1/oauth-clients", &new).field("client_id");
        world
    }

    fn daemon(&self) -> &Daemon {
        &self.office.daemon
    }

    fn bearer(&self, id: &str) -> String {
        self.tokens.access(UserId::parse(id).expect("an id"), Duration::from_secs(3_600))
    }

    fn ask_as_admin(&self, path: &str, body: &Value) -> Answer {
        let made = self.daemon().call_json("POST", path, Some(&self.admin), body);
        assert_eq!(made.status, 200, "{made:?}");
        made
    }

    fn account(&self, role: &str) -> Account {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let new = json!({"name": format!("person {number}"), "email": format!("p{number}@example.org"), "role": role});
        let made = self.ask_as_admin("/api/v1/users", &new);
        let id = made.json()["user"]["id"].as_str().expect("an id").to_owned();
        let link = made.field("invitation_url");
        let invitation = link.split_once('#').expect("a secret").1.to_owned();
        Account { bearer: self.bearer(&id), id, invitation }
    }

    fn meeting(&self, host: &Account) -> String {
        let made = self.daemon().call_json("POST", MEETINGS, Some(&host.bearer), &json!({"topic": "x"}));
        assert_eq!(made.status, 200, "{made:?}");
        made.field("id")
    }

    /// The session token of a join.
    fn join(&self, meeting: &str, bearer: Option<&str>) -> String {
        let joined =
            self.daemon().call_json("POST", &format!("{MEETINGS}/{meeting}/join"), bearer, &json!({}));
        assert_eq!(joined.status, 200, "{joined:?}");
        joined.field("session_token")
    }
}

impl<'a> Cell<'a> {
    fn new(world: &'a World, role: &'a str) -> Self {
        let host = world.account("user");
        let (meeting, participant) = (world.meeting(&host), world.account("user"));
        world.join(&meeting, Some(&participant.bearer));
        let third = match role {
            "other" => Some(world.account("user")),
            "admin" => Some(world.account("admin")),
            _ => None,
        };
        Self { world, role, host, meeting, participant, third }
    }

    /// The account that asks, if it has one.
    fn account(&self) -> Option<&Account> {
        match self.role {
            "host" => Some(&self.host),
            "participant" => Some(&self.participant),
            _ => self.third.as_ref(),
        }
    }

    /// The token that asks, of the kind the route takes.
    fn token(&self, kind: &str) -> Option<String> {
        match (kind, self.role) {
            ("none", _) | (_, "anonymous") => None,
            (_, "guest") => Some(self.world.join(&self.meeting, None)),
            // A program that the host let act for it.
            (_, "program") => {
                let host = UserId::parse(&self.host.id).expect("an id");
                Some(self.world.tokens.delegated(host, &self.world.client.0, "meetings"))
            }
            ("api", _) => self.account().map(|account| account.bearer.clone()),
            // API keys are of accounts; who has none shows what it has.
            ("key", "host" | "participant" | "other" | "admin") => {
                let all = json!({"roomCreate": true, "roomList": true, "roomAdmin": true});
                self.account().map(|account| self.signed(account, all))
            }
            ("media", "host" | "participant") => {
                self.account().map(|account| self.world.join(&self.meeting, Some(&account.bearer)))
            }
            ("room", "host" | "participant") => self.token("media"),
            ("room", _) => self.account().map(|account| self.signed(account, json!({"roomJoin": true}))),
            // Who is not in this meeting is in one of its own.
            ("media", _) => self
                .account()
                .map(|account| self.world.join(&self.world.meeting(account), Some(&account.bearer))),
            (kind, _) => panic!("{kind} is no kind of token"),
        }
    }

    /// A token about the host's meeting, made with a new API key of somebody's.
    fn signed(&self, account: &Account, mut grant: Value) -> String {
        let path = "/api/v1/users/me/api-keys";
        let made = self.world.daemon().call_json("POST", path, Some(&account.bearer), &json!({"name": "x"}));
        merge(&mut grant, json!({"room": self.meeting}));
        let exp = jsonwebtoken::get_current_timestamp() + 600;
        let claims = json!({"iss": made.field("key"), "sub": "somebody", "exp": exp, "video": grant});
        let secret = EncodingKey::from_secret(made.field("secret").as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secret).expect("signs")
    }

    /// What a name in braces stands for: always something of the host's, unless it is said otherwise.
    fn thing(&self, row: &Row, name: &str) -> String {
        let daemon = self.world.daemon();
        match (name, row.path.as_str()) {
            ("meeting", _) => self.meeting.clone(),
            ("id", path) if path.starts_with("/api/v1/meetings/") => self.meeting.clone(),
            ("pid", _) => self.participant.id.clone(),
            ("id", path) if path.starts_with("/api/v1/users/me/sessions/") => {
                let body = json!({"token": self.host.invitation, "password": PASSWORD});
                let signed_in = daemon.call_json("POST", "/api/v1/invitation", None, &body);
                assert_eq!(signed_in.status, 200, "{signed_in:?}");
                let sessions = daemon.call("GET", "/api/v1/users/me/sessions", Some(&self.host.bearer));
                sessions.json()["items"][0]["id"].as_str().expect("a session").to_owned()
            }
            ("id", path) if path.starts_with("/api/v1/users/") => self.host.id.clone(),
            ("id", path) if path.starts_with("/api/v1/oauth-clients/") => self
                .world
                .ask_as_admin("/api/v1/oauth-clients", &json!({"name": "x", "confidential": true}))
                .field("client_id"),
            ("key", _) => {
                let made = daemon.call_json(
                    "POST",
                    "/api/v1/users/me/api-keys",
                    Some(&self.host.bearer),
                    &json!({"name": "x"}),
                );
                made.field("key")
            }
            // A session of the participant's.
            ("session", path) => {
                let door = path.split('/').nth(1).expect("a door");
                let token = self.world.join(&self.meeting, Some(&self.participant.bearer));
                let headers = [("content-type", "application/sdp")];
                let path = format!("/{door}/{}", self.meeting);
                let made = daemon.send("POST", &path, Some(&token), &headers, offer(door).as_bytes());
                assert_eq!(made.status, 201, "{made:?}");
                let location = made.header("location").expect("a location");
                location.rsplit('/').next().expect("a name").to_owned()
            }
            ("client_id", _) => self.world.client.0.clone(),
            ("client_secret", _) => self.world.client.1.clone(),
            ("first_party", _) => self.world.first_party.clone(),
            ("email", _) => {
                let body = json!({"token": self.host.invitation, "password": PASSWORD});
                daemon.call_json("POST", "/api/v1/invitation", None, &body).field("email")
            }
            ("invitation", _) => self.host.invitation.clone(),
            ("fresh", _) => self.meeting.clone(),
            ("join_request", _) => livekit::wrap(
                0,
                proto::JoinRequest { metadata: "x".into(), ..Default::default() }.encode_to_vec(),
            ),
            ("service", _) => "livekit.RoomService".to_owned(),
            ("method", _) => "PerformRpc".to_owned(),
            ("number", _) => self.meeting.trim_start_matches("meeting_").to_owned(),
            ("slug", _) => "meeting-ended".to_owned(),
            ("*path", _) => "nothing.js".to_owned(),
            (name, path) => panic!("{path}: nothing is called {name}"),
        }
    }

    /// `text` with its names in braces replaced. JSON has no letter behind its braces.
    fn filled(&self, row: &Row, text: &str) -> String {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            match after.split_once('}') {
                Some((name, behind)) if name.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') => {
                    filled.push_str(&self.thing(row, name));
                    rest = behind;
                }
                _ => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        filled + rest
    }

    /// The cookie of a browser in which the account that asks has just signed in.
    fn cookie(&self) -> String {
        let account = self.account().expect("only accounts sign in");
        let body = json!({"token": account.invitation, "password": PASSWORD});
        let signed_in = self.world.daemon().call_json("POST", "/api/v1/invitation", None, &body);
        let set = signed_in.header("set-cookie").unwrap_or_else(|| panic!("{signed_in:?}"));
        set.split(';').next().expect("a pair").to_owned()
    }

    fn ask(&self, row: &Row, by: By) -> Answer {
        let mut path = self.filled(row, &row.path);
        let sends = self.filled(row, &row.sends);
        let door = row.path.split('/').nth(1).unwrap_or_default();
        let (mut headers, body): (Vec<(&str, &str)>, String) = match sends.as_str() {
            "" => (Vec::new(), String::new()),
            "offer" => (vec![("content-type", "application/sdp")], offer(door)),
            "restart" => (
                vec![("content-type", "application/trickle-ice-sdpfrag"), ("if-match", "*")],
                RESTART.to_owned(),
            ),
            form if form.starts_with("form:") => (
                vec![("content-type", "application/x-www-form-urlencoded")],
                form.trim_start_matches("form:").to_owned(),
            ),
            query if query.starts_with('?') => {
                path.push_str(query);
                (Vec::new(), String::new())
            }
            json => (vec![JSON], json.to_owned()),
        };
        let daemon = self.world.daemon();
        if by == By::Session {
            let (cookie, origin) = (self.cookie(), format!("http://{}", daemon.address));
            headers.extend([("cookie", cookie.as_str()), ("origin", &origin)]);
            return daemon.send(&row.method, &path, None, &headers, body.as_bytes());
        }
        let token = self.token(&row.kind);
        daemon.send(&row.method, &path, token.as_deref(), &headers, body.as_bytes())
    }
}

fn offer(door: &str) -> String {
    if door == "whep" { OFFER.replace("a=sendrecv", "a=recvonly") } else { OFFER.to_owned() }
}

/// Every route there is: `METHOD path`.
fn routes(document: &Value) -> BTreeSet<String> {
    let documented = document["paths"].as_object().expect("paths").iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("operations").keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    let beside = controlplane::appliance::routes_beside_the_api();
    documented.chain(beside.iter().map(|route| format!("{} {}", route.method, route.path))).collect()
}

#[test]
fn every_route_answers_every_role_as_the_table_says() {
    let world = World::open();
    let document = world.daemon().call("GET", "/api/v1/openapi.json", None).json();
    let rows = rows();
    let (known, listed) = (routes(&document), rows.iter().map(Row::route).collect::<BTreeSet<_>>());
    let without_row: Vec<_> = known.difference(&listed).collect();
    let without_route: Vec<_> = listed.difference(&known).collect();
    assert!(without_row.is_empty(), "routes without a row in tests/data/authorization.txt: {without_row:?}");
    assert!(without_route.is_empty(), "rows without a route: {without_route:?}");

    let cells = rows.iter().flat_map(|row| (0..ROLES.len()).map(move |role| (row, role, By::Token)));
    answer_as_they_should(&world, &cells.collect::<Vec<_>>());
}

#[test]
fn a_session_of_a_browser_is_good_for_what_its_accounts_token_is() {
    let world = World::open();
    let rows = rows();
    // An invitation is good for one sign-in, and the things of these are signed in by the host's.
    let by_host = |row: &Row| {
        !row.path.ends_with("/sessions/{id}")
            && !["{invitation}", "{email}"].iter().any(|name| row.sends.contains(name))
    };
    let taken = rows.iter().filter(|row| row.kind == "api" && row.path.starts_with("/api/v1/"));
    let cells = taken.flat_map(|row| {
        let roles = ROLES
            .iter()
            .enumerate()
            .filter(|(_, role)| **role == "admin" || **role == "host" && by_host(row));
        roles.map(move |(role, _)| (row, role, By::Session))
    });
    answer_as_they_should(&world, &cells.collect::<Vec<_>>());
}

/// Asks all cells, some at a time.
fn answer_as_they_should(world: &World, cells: &[(&Row, usize, By)]) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((row, role, by)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (Some(expected), name) = (row.codes[*role], ROLES[*role]) else { continue };
                    let answer = Cell::new(world, name).ask(row, *by);
                    if answer.status != expected {
                        let (route, status, text) = (row.route(), answer.status, answer.text());
                        let line = format!("{route} as {name}: {status} and not {expected}: {text}");
                        wrong.lock().expect("nobody panicked").push((row.number, *role, line));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("nobody panicked");
    wrong.sort();
    let lines: Vec<_> = wrong.iter().map(|(_, _, line)| line.as_str()).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn only_the_role_that_does_not_exist_has_no_codes() {
    for row in rows() {
        for (role, code) in ROLES.iter().zip(&row.codes) {
            assert_eq!(code.is_none(), *role == COHOST, "{} as {role}", row.route());
        }
    }
}
