// SPDX-License-Identifier: GPL-3.0-or-later
//! what is true, since which revision
