//! Tests that compare times. `./test` runs them after all others, one at a time: beside other tests a server that has
//! more to do than the one it is compared with would get less of the processors, too.

mod endurance;
mod guesses;
mod long_work;
mod pairs;
mod siege;
mod upstreams;
