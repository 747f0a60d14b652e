/** The section of berth(1) about bootstrapping, in the markup of man-roff.ts. */
export const RECIPES_TEXT = `# RECIPES

*berth bootstrap* makes a tree by a recipe: a distribution's packages by its own tool, then files, users and commands. *berth recipes*
lists them, with the tool of each and whether it is here: *mmdebstrap*(1) for Debian and Ubuntu, *dnf*(8) for Fedora and CentOS Stream,
*zypper*(8) for openSUSE, *pacman*(8) for Arch Linux, *apk*(8) for Alpine, *xbps-install*(1) for Void. Debian has packages of all but the last two.

Packages are checked with the keyrings that the recipe names, files of this host. Debian has those of Debian and Arch; of another
distribution get them from there, and put them where the recipe looks or name them with *--keyring*. Without keys nothing is installed.

A tool runs in namespaces of its own, where there are the host's programs, read-only, copies of the files in _/etc_ that say how to reach
the network, five devices that hold nothing, the new tree, and nothing else; of root's rights it and the packages' scripts have only those
over files, users and *chroot*(2). Packages are fetched first, and the scripts have no network, but with *mmdebstrap*(1), which fetches in
between. They can see the keys that root of the host has in the kernel (*keyrings*(7)).

A recipe of this host is a file _/etc/berth/recipes/NAME.ini_. With *extends* it adds to another, also to the shipped one of its own name:
what is a list is added to, any other value replaced. Without, it stands in for that one:

    [recipe]
    extends = debian
    title = Web server

    [tree]
    package[] = nginx-light
    file[] = site.conf /etc/nginx/conf.d/site.conf 0644
    user[] = deploy groups=adm shell=/bin/bash key=deploy.pub
    run[] = "systemctl enable nginx; rm /etc/nginx/sites-enabled/default"

Files lie beside the recipe. Commands are run by _/bin/sh_ of the tree, as root of a machine as *berth run* makes it, without network
unless *network = host* is there; the first that fails ends it all, and nothing is left. *--package* and *--run* add to the recipe's. All keys are in
_bootstrap/README.md_. A file that can't be used is said by *berth recipes*, and keeps nobody from the other recipes.

*image* in *[recipe]*, or a release's own in *[release NAME]*, is what the distribution is called on _images.linuxcontainers.org_: *voidlinux/current*,
or *centos/$release-Stream*, where *$release* stands for that NAME. Where the tool is not there, *berth bootstrap* names it, for *berth pull*.

*--lock=FILE* writes down what was installed: packages with their versions, and with hashes where the tool tells them. *--locked=FILE* installs
just that, or fails and says what is no longer there; of what an archive has the newest only (Arch), that is soon the case. Without
a file the same is kept beside the image: *berth show-image* shows it.

The second machine of a kind is a copy from the cache: of what the recipe, its files, the command line and the lock file say alike, for two weeks.`;
