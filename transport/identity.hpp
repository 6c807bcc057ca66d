// Who belongs to a run: the run's own certificate authority and the identities that it issues, one
// for each node. Nobody else's signature counts. Plain values; any thread may use them. Error texts
// never quote what they were given, because it holds private keys.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "messages/result.hpp"

namespace tracewise {

// What a node shows and checks at each of its connections. Secret: it holds the node's key.
struct Identity {
  std::string node;             // the certificate's common name
  std::string key_pem;          // the node's private key
  std::string certificate_pem;  // signed by the authority
  std::string authority_pem;    // the run authority's certificate
  bool operator==(const Identity&) const = default;
};

// One text for an identity, and back: it travels to its node over the launcher's own channel.
// kBadInput: parts are missing or don't belong together.
std::string to_text(const Identity& identity);
[[nodiscard]] Result<Identity> identity_from_text(std::string_view text);

// The same text in a file of mode 0600 (transport/secret_file.hpp).
[[nodiscard]] Result<void> write_identity(const std::filesystem::path& file,
                                          const Identity& identity);
[[nodiscard]] Result<Identity> read_identity(const std::filesystem::path& file);

// The run's certificate authority (EC P-256). The head alone has it, and keeps it in a file so that
// it goes on with the same one when it starts again.
class RunAuthority {
 public:
  // Valid from one day ago, because clocks differ, for `valid_days` from now.
  [[nodiscard]] static Result<RunAuthority> create(int valid_days);

  [[nodiscard]] static Result<RunAuthority> read(const std::filesystem::path& file);
  [[nodiscard]] Result<void> write(const std::filesystem::path& file) const;

  // A new key and certificate for `node`, valid from one day ago for `valid_days`, but not longer
  // than the authority itself. kBadInput: is_node_name() (messages/validate.hpp) refuses the name.
  [[nodiscard]] Result<Identity> issue(const std::string& node, int valid_days) const;

 private:
  RunAuthority(std::string key_pem, std::string certificate_pem)
      : key_pem_(std::move(key_pem)), certificate_pem_(std::move(certificate_pem)) {}

  std::string key_pem_;
  std::string certificate_pem_;
};

}  // namespace tracewise
