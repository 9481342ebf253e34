// The pool as XLA custom calls, so that a compiled program can step it.
#ifndef JAXFACTORY_XLA_CALLS_H_
#define JAXFACTORY_XLA_CALLS_H_

namespace jaxfactory {

// XLA FFI handlers for the CPU backend, as jax.ffi.register_ffi_target takes them. Both
// take the pool's address as the attribute `pool` and a token, an int32 scalar that
// orders the calls; the one that steps takes actions int32 [B, heads] as well. Results:
// the next token, obs and final_obs uint8 [B, ...], then, [B] each, reward and
// raw_reward float32, terminated, truncated, is_first and restarted,
// episode_shaped_return and episode_raw_return float32, episode_length int32; last,
// variables float32 [B, V].
void* XlaResetHandler();
void* XlaStepHandler();

}  // namespace jaxfactory

#endif  // JAXFACTORY_XLA_CALLS_H_
