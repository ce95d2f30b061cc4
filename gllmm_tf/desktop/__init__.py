"""`.gllmm` files on a desktop: their type, their magic, their thumbnails. `docs/desktop.md` explains.

gllmm.xml           the type image/x-gllmm for shared-mime-info: file managers, xdg-mime
gllmm.magic         the same for file(1)
gllmm.thumbnailer   which program draws the small pictures of file managers
thumbnail.py        that program
install.py          puts the files where desktops look for them: python -m gllmm_tf.desktop
"""
