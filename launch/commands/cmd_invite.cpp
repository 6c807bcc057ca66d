// tracewise invite: a token with which a node joins a run.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "launch/commands/cli.hpp"
#include "launch/invitation.hpp"
#include "transport/secret_file.hpp"

namespace tracewise {

int cmd_invite(const Args& args) {
  CLI::App app(
      "Makes a token with which one node can join a run that goes on (tracewise join). It holds a\n"
      "private key: whoever has it can join. To be made where the run's folder is, by its owner.",
      "tracewise invite");
  std::string run, name = guest_name(), out;
  int days = 7;
  app.add_option("RUN", run, "run folder")->required();
  app.add_option("--name", name, "of the node; default: guest- and a random number");
  app.add_option("--out", out, "file to write, of mode 0600; default: standard output")
      ->type_name("FILE");
  app.add_option("--days", days, "for which the node can make connections")
      ->check(CLI::Range(1, 365))
      ->capture_default_str();
  if (const auto exit = parse_args(app, args)) return *exit;

  if (out.empty() && isatty(STDOUT_FILENO) != 0) {
    return fail(bad_input(
        "a token is not for the screen: --out FILE, or pipe it to tracewise join --token -"));
  }
  const auto contact = find_run(run);
  if (!contact.ok()) return fail(contact.error());
  const auto invitation = invite(*contact, name, days);
  if (!invitation.ok()) return fail(invitation.error());
  const std::string text = to_text(*invitation);
  if (out.empty()) {
    std::fputs(text.c_str(), stdout);
    return kExitDone;
  }
  const auto written = write_secret_file(out, text);
  if (!written.ok()) return fail(written.error());
  std::printf("node %s can join the run at %s with %s\n", name.c_str(),
              place_name(invitation->head.host, invitation->head.port).c_str(), out.c_str());
  return kExitDone;
}

}  // namespace tracewise
