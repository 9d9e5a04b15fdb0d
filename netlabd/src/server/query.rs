// SPDX-License-Identifier: GPL-3.0-or-later
//! Query parameters, read strictly: an unknown, repeated or unreadable one is an error that says
//! what there is instead.

use std::fmt::Display;
use std::str::FromStr;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use aide::operation::{ParamLocation, add_parameters, parameters_from_schema};
use axum::extract::{FromRequestParts, Query as AxumQuery};
use axum::http::request::Parts;
use netlab_api::ApiError;
use schemars::JsonSchema;

use super::answer::{Failure, bad_request};

/// The query parameters of a route; its fields, in camelCase, are their names.
pub(super) trait FromQuery: JsonSchema + Sized {
    /// Takes every parameter that the route knows.
    fn from_query(query: &mut Query) -> Result<Self, ApiError>;
}

/// The query of a request, as `T` reads it.
pub(super) struct Params<T>(pub(super) T);

impl<T: FromQuery, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params<T>, Failure> {
        let mut query = Query::parse(&parts.uri)?;
        let params = T::from_query(&mut query)?;
        query.finish()?;
        Ok(Params(params))
    }
}

impl<T: FromQuery> OperationInput for Params<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<T>();
        let params = parameters_from_schema(ctx, schema, ParamLocation::Query);
        add_parameters(ctx, operation, params);
    }
}

/// A route that takes no parameters.
#[derive(JsonSchema)]
pub(super) struct NoParams {}

impl FromQuery for NoParams {
    fn from_query(_: &mut Query) -> Result<NoParams, ApiError> {
        Ok(NoParams {})
    }
}

/// The parameters that nobody took yet, and the names of those that somebody asked for.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Query {
    fn parse(uri: &axum::http::Uri) -> Result<Query, ApiError> {
        let AxumQuery(pairs) = AxumQuery::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| bad_request(format!("malformed query: {error}")))?;
        // The decoder writes U+FFFD for bytes that are not UTF-8. A command of an exec must not be
        // changed silently; whoever means that character can send it outside of the query.
        let broken = |text: &String| text.contains(char::REPLACEMENT_CHARACTER);
        if let Some((name, _)) = pairs.iter().find(|(name, value)| broken(name) || broken(value)) {
            return Err(bad_request(format!("query parameter `{name}` is not valid UTF-8")));
        }
        Ok(Query { pairs, known: Vec::new() })
    }

    /// All values of a parameter that may be repeated.
    pub(super) fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        self.pairs.extract_if(.., |pair| pair.0 == name).map(|(_, value)| value).collect()
    }

    /// The value of a parameter.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        let mut values = self.texts(name).into_iter();
        let value = values.next();
        if values.next().is_some() {
            return Err(bad_request(format!("query parameter `{name}` is given more than once")));
        }
        Ok(value)
    }

    /// A parameter that is on or off; its bare name means on.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, ApiError> {
        match self.text(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(other) => Err(bad_request(format!(
                "query parameter `{name}` is `{other}`, which is neither `true` nor `false`"
            ))
            .with_hint(format!("write `{name}=true`"))),
        }
    }

    /// A parameter that is read from its text; `what` says in words what it must be.
    pub(super) fn value<T: FromStr<Err: Display>>(
        &mut self,
        name: &'static str,
        what: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| {
            bad_request(format!("query parameter `{name}` is `{text}`, not {what}: {error}"))
        })
    }

    fn finish(mut self) -> Result<(), ApiError> {
        let Some((name, _)) = self.pairs.first() else { return Ok(()) };
        let error = bad_request(format!("unknown query parameter `{name}`"));
        if self.known.is_empty() {
            return Err(error.with_hint("this path takes none"));
        }
        self.known.sort_unstable();
        let all = format!("this path knows {}", quoted(&self.known));
        Err(error.with_hint(match nearest(name, self.known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? {all}"),
            None => all,
        }))
    }

    #[cfg(test)]
    pub(super) fn names_known_to<T: FromQuery>() -> Vec<&'static str> {
        let mut query = Query { pairs: Vec::new(), known: Vec::new() };
        // A parameter that must be there fails the reading after its name was asked for.
        let _ = T::from_query(&mut query);
        query.known
    }
}

/// The word that `word` is most likely a slip of.
pub(super) fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |candidate: &str| {
        strsim::normalized_damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase())
    };
    words
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
