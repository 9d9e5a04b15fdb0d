// SPDX-License-Identifier: GPL-3.0-or-later
//! What holds for the network of the whole cluster and may be changed while it lives.

use std::time::Duration;

use netlab_api::view::{NetworkSettings, Routing};
use netlab_api::{ApiError, ClusterSettings, DnsSettings, ProxyMode, Reason, RouteMode, Time};
use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::draft::Draft;
use super::{Control, MAX_ROUNDS, too_busy};
use crate::store::Revision;

/// How long nodes may take to be ready for encapsulated packets before others send them.
const PREPARATION: Duration = Duration::from_secs(10);

/// Where the settings stand in the store.
pub(super) const NETWORK_KEY: &str = "settings/network";

/// The settings as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct StoredNetwork {
    /// How blocks of other nodes are reached.
    #[serde(flatten)]
    pub(super) routing: Routing,
    /// What the configuration file said when it was last looked at: a file that says something
    /// new is obeyed, one that is as it was does not undo a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) configured: Option<RouteMode>,
    /// Which layout of rules carries services.
    pub(super) proxy_mode: ProxyMode,
    /// As `configured`, for the proxy mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) configured_proxy_mode: Option<ProxyMode>,
    /// What of the configuration nodes go by.
    #[serde(skip_serializing_if = "is_unknown")]
    pub(super) settings: ClusterSettings,
    /// What nodes go by when they answer for names, as the configuration said last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dns: Option<DnsSettings>,
}

fn is_unknown(settings: &ClusterSettings) -> bool {
    *settings == ClusterSettings::default()
}

impl Control {
    /// Takes over the route mode of the configuration file, if it says another than last time.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn configure_route_mode(&self, configured: RouteMode) -> Result<(), ApiError> {
        self.change_network(|stored| {
            if stored.configured != Some(configured) {
                stored.configured = Some(configured);
                stored.routing.route_mode = configured;
            }
        })
        .await
        .map(|_| ())
    }

    /// Takes over the proxy mode of the configuration file, if it says another than last time.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn configure_proxy_mode(&self, configured: ProxyMode) -> Result<(), ApiError> {
        self.change_network(|stored| {
            if stored.configured_proxy_mode != Some(configured) {
                stored.configured_proxy_mode = Some(configured);
                stored.proxy_mode = configured;
            }
        })
        .await
        .map(|_| ())
    }

    /// Has nodes go by the configuration with which the cluster was opened, and answers by which
    /// they went before.
    pub(super) async fn spread_configuration(&self) -> Result<ClusterSettings, ApiError> {
        let before = self.stored_network(&mut Draft::new(&*self.store)).await?.settings;
        let settings = self.config.settings();
        if settings != before {
            self.change_network(|stored| stored.settings = settings.clone()).await?;
        }
        Ok(before)
    }

    /// Takes over what the configuration says of names; every node hears of it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn configure_dns(&self, settings: &DnsSettings) -> Result<(), ApiError> {
        self.change_network(|stored| stored.dns = Some(settings.clone())).await.map(|_| ())
    }

    pub(super) async fn network_settings(&self) -> Result<NetworkSettings, ApiError> {
        let stored = self.stored_network(&mut Draft::new(&*self.store)).await?;
        Ok(self.settings(&stored))
    }

    pub(super) async fn set_network_settings(
        &self,
        wanted: &NetworkSettings,
    ) -> Result<(Revision, NetworkSettings), ApiError> {
        let networks = &self.config.pod_networks;
        if !wanted.pod_networks.is_empty() && wanted.pod_networks != *networks {
            return Err(ApiError::new(
                Reason::Invalid,
                "the pod networks of a cluster that lives cannot be changed",
            )
            .with_field("podNetworks")
            .with_hint("leave the field out; new networks need a new cluster"));
        }
        let before = self.stored_network(&mut Draft::new(&*self.store)).await?;
        let mode = wanted.route_mode;
        if mode != before.routing.route_mode && mode.may_encapsulate() {
            // Make before break: each node takes what is about to come before any sends it. One
            // that lags for longer misses packets, as it misses everything else.
            let accept = |stored: &mut StoredNetwork| stored.routing.accept_encapsulated = true;
            let (revision, _) = self.change_network(accept).await?;
            let revision = self.give_blocks().await?.max(revision);
            if let Err(error) = Cluster::programmed(self, revision, PREPARATION).await {
                tracing::warn!(%error, "switching the route mode all the same");
            }
        }
        let change = |stored: &mut StoredNetwork| {
            stored.routing = Routing { route_mode: mode, accept_encapsulated: false };
            stored.proxy_mode = wanted.proxy_mode.unwrap_or(stored.proxy_mode);
        };
        let (revision, stored) = self.change_network(change).await?;
        Ok((revision, self.settings(&stored)))
    }

    /// Gives every node a block, which the node's own encapsulated packets need.
    async fn give_blocks(&self) -> Result<Revision, ApiError> {
        let now = Time::now();
        let _placing = self.placing.lock().await;
        for round in 0..MAX_ROUNDS {
            let _turn = self.turns.next(round).await;
            let mut draft = Draft::new(&*self.store);
            let placement = self.placement().await?;
            let mut blocks = placement.blocks;
            for node in &placement.nodes {
                for network in &self.config.pod_networks {
                    blocks.ensure_block(&node.metadata.name, *network, now);
                }
            }
            Control::put_blocks(&mut draft, &blocks, &placement.nodes);
            if let Some(revision) = draft.commit_unless_overtaken().await? {
                return Ok(revision);
            }
        }
        Err(too_busy())
    }

    async fn change_network(
        &self,
        change: impl Fn(&mut StoredNetwork),
    ) -> Result<(Revision, StoredNetwork), ApiError> {
        for round in 0..MAX_ROUNDS {
            let _turn = self.turns.next(round).await;
            let mut draft = Draft::new(&*self.store);
            let before = self.stored_network(&mut draft).await?;
            let mut after = before.clone();
            change(&mut after);
            if after == before {
                let revision = self.store.revision().await.map_err(super::draft::read_failed)?;
                return Ok((revision, after));
            }
            let value = serde_json::to_value(&after).expect("settings are plain data");
            draft.put_raw(NETWORK_KEY.to_owned(), Some(&value));
            if let Some(revision) = draft.commit_unless_overtaken().await? {
                return Ok((revision, after));
            }
        }
        Err(too_busy())
    }

    async fn stored_network(&self, draft: &mut Draft<'_>) -> Result<StoredNetwork, ApiError> {
        let Some(value) = draft.get_raw(NETWORK_KEY).await? else {
            return Ok(StoredNetwork::default());
        };
        serde_json::from_value(value).map_err(|error| {
            ApiError::new(
                Reason::InternalError,
                format!("record `{NETWORK_KEY}` of the store cannot be understood: {error}"),
            )
        })
    }

    fn settings(&self, stored: &StoredNetwork) -> NetworkSettings {
        NetworkSettings {
            route_mode: stored.routing.route_mode,
            proxy_mode: Some(stored.proxy_mode),
            pod_networks: self.config.pod_networks.clone(),
        }
    }
}
