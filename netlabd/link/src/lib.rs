//! netlab-link
