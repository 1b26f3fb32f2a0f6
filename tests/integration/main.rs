//! What rocker does, seen from outside: one file per subject, all through the static binary.

#![cfg(test)]

mod archives;
mod attacks;
mod bad_input;
mod bare;
mod boot;
mod borders;
mod callers;
mod check;
mod cli;
mod clients;
mod damage;
mod docs;
mod escapes;
mod faults;
mod faults_scenes;
mod harness;
mod harness_census;
mod harness_host;
mod harness_net;
mod harness_pty;
mod hindrances;
mod image;
mod isolation;
mod jobs;
mod layer;
mod leftovers;
mod lifecycle;
mod limits;
mod logs;
mod network;
mod privileges;
mod publish;
mod restart;
mod run;
mod seed;
mod servers;
mod terminal;
mod userns;
mod vfat;
mod volumes;
