// The way to the head of a run that goes on, for whoever may read its secrets (RUN/secrets).
#pragma once

#include <filesystem>
#include <string>

#include "actors/control.hpp"
#include "launch/config.hpp"
#include "launch/envelope.hpp"
#include "transport/identity.hpp"

namespace tracewise {

struct RunContact {
  RunAuthority authority;
  std::string run;  // run id
  HeadAddress head;
  Config config;  // as the run was started
};

// kBadInput: there is no such run, its secrets cannot be read from here, or nobody runs it now.
[[nodiscard]] Result<RunContact> find_run(const std::filesystem::path& run);

// What the head answers an operator. Blocks until `deadline`. Errors are the head's own refusals,
// and those of dial().
[[nodiscard]] ControlAnswer ask_head(const RunContact& run, const ControlRequest& request,
                                     TimePoint deadline);

}  // namespace tracewise
