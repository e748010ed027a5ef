//! From made-up facts to verdicts: what the lab can't set up cheaply, and every rule of the judgement.

mod arrival;
mod good;
mod local;
mod walk;

use vrfgate_core::{LocalAddress, Protocol};
use vrfgate_ebpf::OpenSocket;

use super::*;
use crate::facts::{tests::*, *};
