//! netlabd
