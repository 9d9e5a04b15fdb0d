//! netlab-nft
