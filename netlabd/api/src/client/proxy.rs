// SPDX-License-Identifier: GPL-3.0-or-later
//! What a node does with packets to services: its rules, and the flows that it tracks.

use hyper::Method;

use super::query::escape;
use super::{Client, ClientError, Query};
use crate::ProxyMode;
use crate::proxy::{Flows, ProxyRules, ProxyRuleset};

impl Client {
    /// The rules of the daemon's node for a service, by namespace and name, or those for all; in
    /// the layout in use unless another is given.
    pub async fn proxy_rules(
        &self,
        service: Option<(&str, &str)>,
        mode: Option<ProxyMode>,
    ) -> Result<ProxyRules, ClientError> {
        let mut query = Query::new(match service {
            None => "/v1/proxy".to_owned(),
            Some((namespace, name)) => {
                let (namespace, name) = (escape(namespace), escape(name));
                format!("/v1/proxy/services/{namespace}/{name}")
            }
        });
        if let Some(mode) = mode {
            query = query.set("as", mode.as_str());
        }
        self.json(Method::GET, &query.into_path(), None::<&()>).await
    }

    /// All rules of the daemon's node, as `nft` reads them.
    pub async fn proxy_ruleset(&self) -> Result<ProxyRuleset, ClientError> {
        self.json(Method::GET, "/v1/proxy/ruleset", None::<&()>).await
    }

    /// The flows that the daemon's node tracks: those to services, or to one by namespace and
    /// name, or all.
    pub async fn flows(
        &self,
        service: Option<(&str, &str)>,
        protocol: Option<&str>,
        all: bool,
    ) -> Result<Flows, ClientError> {
        let mut query = Query::new("/v1/flows").flag("all", all);
        if let Some((namespace, name)) = service {
            query = query.set("service", format!("{namespace}/{name}"));
        }
        if let Some(protocol) = protocol {
            query = query.set("protocol", protocol);
        }
        self.json(Method::GET, &query.into_path(), None::<&()>).await
    }
}
