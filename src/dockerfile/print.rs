//! Trees as Dockerfiles.
