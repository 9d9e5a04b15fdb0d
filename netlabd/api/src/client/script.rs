// SPDX-License-Identifier: GPL-3.0-or-later
//! What a person would type to have by hand what netlab made.

use hyper::Method;

use super::{Client, ClientError, query};
use crate::resource::Kind;
use crate::script::Script;

impl Client {
    /// The lines for a pod, answered by its node.
    ///
    /// # Errors
    /// `NotFound` when there is no such pod, `Conflict` when it has no link.
    pub async fn explain_pod(&self, namespace: &str, name: &str) -> Result<Script, ClientError> {
        self.json(Method::GET, &path(Kind::Pod, namespace, name), None::<&()>).await
    }

    /// The lines for a service on the daemon's node, in the layout in use.
    ///
    /// # Errors
    /// `NotFound` when there is no such service.
    pub async fn explain_service(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Script, ClientError> {
        self.json(Method::GET, &path(Kind::Service, namespace, name), None::<&()>).await
    }

    /// The lines for all that the daemon's node does with packets to services.
    pub async fn explain_proxy(&self) -> Result<Script, ClientError> {
        self.json(Method::GET, "/v1/explain/proxy", None::<&()>).await
    }

    /// The lines that lead from the daemon's node to the pods of others.
    pub async fn explain_network(&self) -> Result<Script, ClientError> {
        self.json(Method::GET, "/v1/explain/network", None::<&()>).await
    }
}

fn path(kind: Kind, namespace: &str, name: &str) -> String {
    let (namespace, name) = (query::escape(namespace), query::escape(name));
    format!("/v1/explain/{}/{namespace}/{name}", kind.plural())
}
