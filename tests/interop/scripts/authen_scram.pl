# authen_scram.pl HOST PORT MODE CAFILE MECHANISM USER < PASSWORD: the first message goes to standard output.
use strict;
use warnings;
use Authen::SCRAM::Client;
use IO::Socket::SSL;
use MIME::Base64;

my ($host, $port, $mode, $cafile, $mechanism, $user) = @ARGV;
chomp(my $password = <STDIN>);
my @tls = (SSL_ca_file => $cafile, SSL_hostname => $host, SSL_verifycn_name => $host, SSL_verifycn_scheme => 'pop3');
my $to = "$host:$port";
my $socket = ($mode eq 'tls' ? IO::Socket::SSL->new(PeerAddr => $to, @tls) : IO::Socket::INET->new(PeerAddr => $to))
    or die "no connection: $@";

sub reply {
    my $line = <$socket>;
    defined $line && $line =~ /^\+/ or die 'refused: ' . ($line // 'connection lost');
    return $line;
}

sub say_line {
    print $socket "$_[0]\r\n";
    return reply();
}

sub challenge {
    my ($encoded) = $_[0] =~ /^\+ (\S*)\r\n/ or die "no challenge: $_[0]";
    return decode_base64($encoded);
}

$socket->autoflush(1);
reply();
if ($mode eq 'stls') {
    say_line('STLS');
    IO::Socket::SSL->start_SSL($socket, @tls) or die "TLS: $SSL_ERROR";
}
my $client = Authen::SCRAM::Client->new(
    username => $user,
    password => $password,
    digest => $mechanism =~ s/^SCRAM-//r,
    minimum_iteration_count => 4096,
);
my $first = challenge(say_line("AUTH $mechanism " . encode_base64($client->first_msg, '')));
my $last = challenge(say_line(encode_base64($client->final_msg($first), '')));
$client->validate($last) or die 'the server does not prove itself';
say_line('');
say_line('RETR 1');
binmode STDOUT;
while (defined(my $line = <$socket>)) {
    last if $line eq ".\r\n";
    print $line =~ s{^\.}{}r;
}
