// Tables of text for people.
#ifndef FVD_CLI_TABLE_H_
#define FVD_CLI_TABLE_H_

#include <iosfwd>
#include <string>
#include <vector>

namespace fvd::cli {

// Rows of as many cells each, the first one the head; columns as wide as their widest cell is on a terminal.
void print_table(std::ostream& out, const std::vector<std::vector<std::string>>& rows);

}  // namespace fvd::cli

#endif  // FVD_CLI_TABLE_H_
