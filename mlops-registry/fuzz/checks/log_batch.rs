//! A body of `runs/log-batch` means the same whether it is read straight into a batch or, because of a key that is not
//! known, by way of a tree of values.

use std::cell::RefCell;

use serde_json::Value;

use super::server::Server;

const PATH: &str = "/api/2.0/mlflow/runs/log-batch";

thread_local! {
    static SERVERS: RefCell<[Server; 2]> = RefCell::new([Server::new(), Server::new()]);
}

/// `$RUN` in the body stands for the id of a run that is there.
pub(crate) fn check(body: &str) {
    SERVERS.with_borrow_mut(|[straight, tree]| {
        straight.renew();
        tree.renew();
        let body = body.replace("$RUN", &straight.run);
        let (status, answer) = straight.send("POST", PATH, body.clone().into_bytes());
        let Ok(Value::Object(mut fields)) = serde_json::from_str(&body) else {
            assert!(!status.is_success(), "{answer}");
            // Both have the same number of requests behind them, and begin anew together.
            assert_eq!(tree.send("POST", PATH, body.clone().into_bytes()).0, status);
            return;
        };
        fields.insert("unknown".to_owned(), Value::Null);
        let padded = serde_json::to_vec(&fields).expect("a tree is written");
        assert_eq!(tree.send("POST", PATH, padded), (status, answer));
        let get = format!("/api/2.0/mlflow/runs/get?run_id={}", straight.run);
        assert_eq!(straight.send("GET", &get, Vec::new()), tree.send("GET", &get, Vec::new()));
    });
}
