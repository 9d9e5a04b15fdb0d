// SPDX-License-Identifier: GPL-3.0-or-later
//! HTTP on the unix socket
