//! The program as its users see it: its help, its errors, its exit codes, and clusters that it runs.

mod cluster;
mod operate;
mod servers;
mod support;
mod surface;
