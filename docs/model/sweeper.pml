/* participant.rs: a process that looks for the dead: what all do that wait, here one that does nothing else. */
#undef FORGET
#define FORGET \
    me = NOBODY; started = false; s = 0; f = 0; i = 0; g = 0; v = 0; r = 0; w = 0; c = 0; k = 0; \
    do :: k < GROUPS -> unmoved[k] = unmoved[k] & ~BIT(p); k++ :: else -> break od; \
    k = 0
#define SWEEPS

proctype Sweeper(byte p) {
#include "locals.pml"
    goto idle;
#include "sweep.pml"
start:
    started = true;
idle:
end_idle:
    if
    :: d_step { ANY(IS_DEAD) } goto look
    fi;
gone:
    skip
}
#undef SWEEPS
#ifdef RESTART
#define SWEEPS
#endif
