//! What the filter needs of Kong's settings.

use std::collections::BTreeMap;

use super::Line;

/// Largest body of a call of a model; the gate takes no larger one (`body_too_large`).
const LARGEST_ASK: u64 = 10 * 1024 * 1024;

/// Kong's settings by name, however they were found.
pub(super) type Settings = BTreeMap<String, String>;

/// The settings in a kong.conf (or the `.kong_env` of a running Kong's prefix). Later lines win.
pub(super) fn read(conf: &str) -> Settings {
    let lines = conf.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    let pairs = lines.filter(|line| !line.starts_with('#')).filter_map(|l| l.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// Judges them. `second_pass` is the port of the listener for calls of models, where there are any.
pub(super) fn judge(settings: &Settings, second_pass: Option<u16>) -> Vec<Line> {
    let of = |name: &str| settings.get(name).map_or("", String::as_str);
    let mut lines = Vec::new();
    let mut tell = |good: bool, look: &str, found: String, mend: &str| {
        lines.push(if good {
            Line::ok("kong", look, found)
        } else {
            Line::fail("kong", look, found, mend)
        });
    };
    let shown = |name: &str| match of(name) {
        "" => format!("{name} is not set"),
        value => format!("{name} = {value}"),
    };
    let is_on = |name: &str| matches!(of(name), "on" | "true");
    tell(is_on("wasm"), "wasm", shown("wasm"), "set `wasm = on`: without it every route is open");
    let filters = of("wasm_filters");
    tell(
        filters == "user" || filters.split(',').any(|one| one.trim() == "kombi_gate"),
        "filters",
        shown("wasm_filters"),
        "set `wasm_filters = user`: any other filter that fails to load opens every route",
    );
    let (zone, told) = (of("nginx_wasm_shm_kv"), of("nginx_proxy_set"));
    let same = told.strip_prefix("$kombi_zone").is_some_and(|size| size.trim() == zone);
    tell(
        !zone.is_empty() && same,
        "zone",
        format!("{}, {}", shown("nginx_wasm_shm_kv"), shown("nginx_proxy_set")),
        "set `nginx_wasm_shm_kv = 16m` and `nginx_proxy_set = $kombi_zone 16m`: without both, each \
         worker counts limits and fetches keys by itself",
    );
    tell(
        is_on("nginx_wasm_proxy_wasm_lua_resolver"),
        "resolver",
        shown("nginx_wasm_proxy_wasm_lua_resolver"),
        "set `nginx_wasm_proxy_wasm_lua_resolver = on`: on its tick the filter finds no names",
    );
    if let Some(port) = second_pass {
        judge_bodies(settings, &mut tell);
        tell(
            of("router_flavor") == "expressions",
            "router",
            shown("router_flavor"),
            "set `router_flavor = expressions`: only so can the providers' routes demand their \
             listener",
        );
        let open = of("proxy_listen").split(',').map(str::trim).any(|listener| {
            let address = listener.split(' ').next().unwrap_or_default();
            address.ends_with(&format!(":{port}")) && !address.starts_with("127.")
        });
        let there = of("proxy_listen").contains(&format!(":{port}"));
        tell(
            there && !open,
            "second pass",
            shown("proxy_listen"),
            &format!("listen on 127.0.0.1:{port} and nowhere else with that port"),
        );
    }
    lines.push(judge_proxies(of("trusted_ips")));
    let admin = of("admin_listen");
    let everywhere = admin.contains("0.0.0.0") || admin.contains("[::]");
    if everywhere {
        let mend = "set `admin_listen = off`, or an address that only the operator reaches";
        lines.push(Line::warn("kong", "admin API", shown("admin_listen"), mend));
    }
    lines
}

fn judge_bodies(settings: &Settings, tell: &mut impl FnMut(bool, &str, String, &str)) {
    let size = |name: &str| settings.get(name).and_then(|text| bytes(text));
    let names = ["nginx_http_client_body_buffer_size", "nginx_http_client_max_body_size"];
    let [buffer, most] = names.map(size);
    let found =
        |size: Option<u64>| size.map_or("not set".to_owned(), |size| format!("{size} bytes"));
    tell(
        buffer.is_some_and(|buffer| buffer >= LARGEST_ASK),
        "body buffer",
        found(buffer),
        "set `nginx_http_client_body_buffer_size = 10m`: the filter cannot read what lies in a file",
    );
    // 0 is no limit: the gate has its own.
    tell(
        most.is_some_and(|most| most == 0 || Some(most) >= buffer),
        "body limit",
        found(most),
        "set `nginx_http_client_max_body_size = 16m`: larger than the buffer, so that the gate says \
         what is too large",
    );
}

/// Who may say where a request comes from.
fn judge_proxies(trusted: &str) -> Line {
    let (part, look) = ("kong", "trusted_ips");
    let mut networks = trusted.split(',').map(str::trim).filter(|network| !network.is_empty());
    if networks.clone().any(|network| network.ends_with("/0")) {
        let mend = "name the proxies before Kong and nobody else: now everybody can claim any address, \
                    and limits by address count for nothing";
        return Line::fail(part, look, trusted, mend);
    }
    if networks.next().is_none() {
        return Line::ok(part, look, "none: whoever connects is where the request comes from");
    }
    Line::ok(part, look, trusted)
}

/// A size as nginx writes it.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (digits, unit) = match text.strip_suffix(['k', 'm', 'g']) {
        None => (text.as_str(), 1),
        Some(digits) if text.ends_with('k') => (digits, 1024),
        Some(digits) if text.ends_with('m') => (digits, 1024 * 1024),
        Some(digits) => (digits, 1024 * 1024 * 1024),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    const SHIPPED: &str = include_str!("../../../kong/kong.conf");

    fn wrong(more: &str) -> Vec<String> {
        let lines = judge(&read(&format!("{SHIPPED}\n{more}")), Some(8020));
        lines.into_iter().filter(|l| l.outcome != Outcome::Ok).map(|line| line.look).collect()
    }

    #[test]
    fn what_is_shipped_is_as_it_should_be() {
        assert_eq!(wrong(""), Vec::<String>::new());
    }

    #[test]
    fn each_setting_that_is_wrong_is_found() {
        for (setting, look) in [
            ("wasm = off", "wasm"),
            ("wasm_filters = bundled", "filters"),
            ("nginx_wasm_shm_kv = ", "zone"),
            ("nginx_proxy_set = ", "zone"),
            ("nginx_wasm_shm_kv = 32m", "zone"),
            ("nginx_wasm_proxy_wasm_lua_resolver = off", "resolver"),
            ("nginx_http_client_body_buffer_size = 8k", "body buffer"),
            ("nginx_http_client_max_body_size = 1m", "body limit"),
            ("router_flavor = traditional_compatible", "router"),
            ("proxy_listen = 0.0.0.0:8000, 0.0.0.0:8020", "second pass"),
            ("proxy_listen = 0.0.0.0:8000", "second pass"),
            ("trusted_ips = 10.0.0.0/8,0.0.0.0/0", "trusted_ips"),
            ("admin_listen = 0.0.0.0:8001", "admin API"),
        ] {
            assert_eq!(wrong(setting), [look], "{setting}");
        }
    }

    #[test]
    fn a_deployment_without_models_needs_nothing_for_them() {
        let lines = judge(
            &read(
                "wasm = on\nwasm_filters = user\nnginx_wasm_shm_kv = 8m\nnginx_proxy_set = $kombi_zone 8m\nnginx_wasm_proxy_wasm_lua_resolver = on",
            ),
            None,
        );
        assert!(lines.iter().all(|line| line.outcome == Outcome::Ok), "{lines:?}");
    }
}
