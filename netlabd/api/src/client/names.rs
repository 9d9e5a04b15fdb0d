// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions about names: how one is looked up, which there are, who asked what.

use hyper::Method;

use super::exchange::empty;
use super::stream::DnsLogStream;
use super::{Client, ClientError, ObjectRef, Query};
use crate::dns::{DnsRecords, DnsTrace};
use crate::resource::Kind;

/// What is asked and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameQuery<'a> {
    /// The name as a program would be given it.
    pub name: &'a str,
    /// Types, as `A` or `SRV`; addresses of both families unless given.
    pub kinds: &'a [String],
    /// As this pod would ask, by namespace and name.
    pub pod: Option<(&'a str, &'a str)>,
    /// Without a pod: as one of this namespace would.
    pub namespace: Option<&'a str>,
}

impl Client {
    /// How the name server of a node, of the pod's when there is one, answers.
    ///
    /// # Errors
    /// `NotFound` when there is no such pod, `BadRequest` when the name is none.
    pub async fn dns_query(&self, query: &NameQuery<'_>) -> Result<DnsTrace, ClientError> {
        let mut path = Query::new(of_pod(query.pod, "query")).set("host", query.name);
        if !query.kinds.is_empty() {
            path = path.set("type", query.kinds.join(","));
        }
        if let Some(namespace) = query.namespace {
            path = path.set("namespace", namespace);
        }
        self.json(Method::GET, &path.into_path(), None::<&()>).await
    }

    /// The records of the daemon's node; those of one namespace, or all.
    ///
    /// # Errors
    /// When the daemon cannot be asked, or answers no names.
    pub async fn dns_records(&self, namespace: Option<&str>) -> Result<DnsRecords, ClientError> {
        let mut path = Query::new("/v1/dns/records");
        if let Some(namespace) = namespace {
            path = path.set("namespace", namespace);
        }
        self.json(Method::GET, &path.into_path(), None::<&()>).await
    }

    /// The last questions to the name server of the daemon's node, or of one pod of whichever node.
    ///
    /// # Errors
    /// `NotFound` when there is no such pod.
    pub async fn dns_log(
        &self,
        pod: Option<(&str, &str)>,
        follow: bool,
        tail: Option<u64>,
    ) -> Result<DnsLogStream, ClientError> {
        let mut path = Query::new(of_pod(pod, "log")).flag("follow", follow);
        if let Some(tail) = tail {
            path = path.set("tail", tail.to_string());
        }
        let response = self.open(empty(Method::GET, &path.into_path())?).await?.0;
        Ok(DnsLogStream::new(response.into_body()))
    }
}

fn of_pod(pod: Option<(&str, &str)>, what: &str) -> String {
    match pod {
        Some((namespace, name)) => {
            format!("{}/dns/{what}", ObjectRef::new(Kind::Pod, Some(namespace), name).path())
        }
        None => format!("/v1/dns/{what}"),
    }
}
