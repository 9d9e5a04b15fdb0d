//! netlab-api
