#include "launch/run_contact.hpp"

#include <utility>

#include "launch/build_id.hpp"
#include "launch/launch_folder.hpp"
#include "launch/run_id.hpp"
#include "transport/dial.hpp"
#include "transport/requests.hpp"

namespace tracewise {
namespace fs = std::filesystem;
namespace {

constexpr int kOperatorDays = 1;

}  // namespace

Result<RunContact> find_run(const fs::path& run) {
  std::error_code failure;
  if (!fs::is_directory(run, failure)) return bad_input(run.string() + ": there is no such folder");
  auto authority = RunAuthority::read(authority_file(run));
  if (!authority.ok()) {
    return bad_input(run.string() +
                     ": the run's secrets are not at hand, so nothing can be asked of it; do this "
                     "where its folder is, as the user who launched it: " +
                     authority.error().message);
  }
  TW_ASSIGN(const HeadAddress head, read_head_address(run));
  TW_ASSIGN(const Identity identity, authority->issue(kOperatorName, kOperatorDays));
  const std::string id = run_id(identity.authority_pem);
  TW_ASSIGN(Config config, load_config({{run / "config.toml"}, {}}));
  return RunContact{std::move(*authority), id, head, std::move(config)};
}

ControlAnswer ask_head(const RunContact& run, const ControlRequest& request, TimePoint deadline) {
  TW_ASSIGN(const Identity identity, run.authority.issue(kOperatorName, kOperatorDays));
  TW_ASSIGN(const TlsContext context, TlsContext::create(identity));
  Hello hello;
  hello.build = build_id();
  hello.run = run.run;
  hello.node = kOperatorName;
  hello.channel = Channel::kShell;
  TW_ASSIGN(const auto stream,
            dial(run.head.host, run.head.port, context, hello, kHeadName, deadline));
  TW_ASSIGN(const std::string answer, ask(*stream, to_text(request), deadline));
  return control_answer(answer);
}

}  // namespace tracewise
