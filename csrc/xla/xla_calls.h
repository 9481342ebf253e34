// The pool as XLA custom calls, so that a compiled program can step it.
#ifndef JAXFACTORY_XLA_XLA_CALLS_H_
#define JAXFACTORY_XLA_XLA_CALLS_H_

namespace jaxfactory {

// XLA FFI handlers for the CPU backend, in the form that jax.ffi.register_ffi_target
// takes. Both take the pool's number as the attribute `pool` and a token, an int32
// scalar that orders the calls (see pool_numbers.h); the step handler also takes
// actions, int32 [B, heads].
//
// Results: the next token, then every field of the pool's arrays in their order, [B] or
// [B, columns], with float64 as float32. Those are the fields of JAXFACTORY_STEP_FIELDS
// (obs, measurements, reward, raw_reward, terminated, truncated, is_first, restarted,
// episode_shaped_return, episode_raw_return, episode_length, final_obs,
// final_measurements) and those of JAXFACTORY_DOOM_FIELDS (frags, place,
// game_variables).
void* XlaResetHandler();
void* XlaStepHandler();

}  // namespace jaxfactory

#endif  // JAXFACTORY_XLA_XLA_CALLS_H_
